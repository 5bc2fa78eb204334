"""`python -m training ...`: tokenizer, member, family, evaluate, card, data, check.

Imports are local to the commands, since the workers that write training text import this module.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from training.settings import MODELS, TOKENIZER, settings, shipped_members

if TYPE_CHECKING:
    import torch


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def _minutes(text: str) -> float:
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"{text} is not more than 0")
    return number


def _device(text: str) -> torch.device:
    """A device that is there: found out before minutes are spent on the tokenizer."""
    import torch

    try:
        device = torch.device(text)
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"{text} is no device") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise argparse.ArgumentTypeError(f"there is no {text} here; cpu works, but slowly")
    return device


def _add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--out", type=Path, default=MODELS, help="the folder of the members' folders")
    command.add_argument("--device", type=_device, default="cuda:0")
    command.add_argument("--workers", type=_positive, default=14, help="processes that write text")
    command.add_argument("--tokens", type=_positive, help="train on so many instead of the planned")
    command.add_argument("--max-minutes", type=_minutes, help="shorten a member's training to fit")
    command.add_argument("--questions", type=_positive, default=1500, help="to evaluate each member on")
    command.add_argument("--eager", action="store_true", help="do not use torch.compile")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description="How kin was made.")
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text)

    tokenizer = add("tokenizer", "train the tokenizer that all members share")
    tokenizer.add_argument("--out", type=Path, default=TOKENIZER)
    member = add("member", "make one member with the shipped tokenizer")
    member.add_argument("name", choices=tuple(settings().shapes))
    _add_options(member)
    _add_options(add("family", "make the tokenizer, then every member, on one device"))
    evaluation = add("evaluate", "measure the accuracy of a member's folder")
    evaluation.add_argument("folder", type=Path)
    evaluation.add_argument("--device", type=_device, default="cpu")
    evaluation.add_argument("--questions", type=_positive, default=224)
    evaluation.add_argument("--split", choices=("development", "evaluation"), default="development")
    cards = add("card", "write the model card of a member's folder again")
    cards.add_argument("folder", type=Path)
    add("data", "write data/seeds and data/eval/kin")
    add("check", "check that the splits share no text and the data files are what they claim")
    return parser


def _make_tokenizer(folder: Path) -> None:
    from training import tokenizer

    tokenizer.save(tokenizer.train(settings()), folder)
    print(f"wrote {folder}", flush=True)


def _make_members(arguments: argparse.Namespace, names: Iterable[str], tokenizer: Path) -> None:
    from training.family import make_member

    for name in names:
        make_member(
            name,
            arguments.out,
            arguments.device,
            workers=arguments.workers,
            tokens=arguments.tokens,
            max_minutes=arguments.max_minutes,
            questions=arguments.questions,
            compile_model=not arguments.eager,
            tokenizer=tokenizer,
        )


def main() -> None:
    """Run one command."""
    arguments = _parser().parse_args()
    match arguments.command:
        case "tokenizer":
            _make_tokenizer(arguments.out)
        case "member":
            _make_members(arguments, (arguments.name,), TOKENIZER)
        case "family":
            folder = arguments.out / TOKENIZER.name
            _make_tokenizer(folder)
            _make_members(arguments, shipped_members(), folder)
        case "evaluate":
            from training.evaluate import evaluate

            result = evaluate(arguments.folder, arguments.device, arguments.questions, arguments.split)
            print(json.dumps(result, indent=1))
        case "card":
            from training import card

            card.write(arguments.folder)
        case "data":
            from training import data_files

            data_files.write_all()
        case "check":
            from training import check

            check.run()


if __name__ == "__main__":
    main()
