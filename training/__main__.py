"""`python -m training ...`: tokenizer, member, family, evaluate, card, pack, unpack, data, check.

Imports are local to the commands, since the workers that write training text import this module.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from training.settings import MODELS, family_names, settings

if TYPE_CHECKING:
    import torch


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is not at least 0")
    return number


def _minutes(text: str) -> float:
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"{text} is not more than 0")
    return number


def _device(parser: argparse.ArgumentParser, text: str) -> torch.device:
    """A device that is there: found out before minutes are spent on the tokenizer."""
    import torch

    try:
        device = torch.device(text)
    except RuntimeError:
        parser.error(f"{text} is no device")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        parser.error(f"there is no {text} here; cpu works, but slowly")
    return device


def _add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--out", type=Path, default=MODELS, help="the folder of the members' folders")
    command.add_argument("--device", default="cuda:0")
    command.add_argument("--workers", type=_positive, default=14, help="processes that write text")
    command.add_argument("--tokens", type=_positive, help="train on so many instead of the planned")
    command.add_argument("--max-minutes", type=_minutes, help="end a member's training in this time")
    command.add_argument("--questions", type=_count, default=1500, help="to evaluate each member on")
    command.add_argument("--eager", action="store_true", help="do not use torch.compile")


def _add_family(command: argparse.ArgumentParser) -> None:
    command.add_argument("--family", choices=family_names(), default="kin")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training", description="How the embedded families were made."
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text)

    tokenizer = add("tokenizer", "train the tokenizer that all members of a family share")
    _add_family(tokenizer)
    tokenizer.add_argument("--out", type=Path, help="a folder (default: where the shipped one is)")
    member = add("member", "make one member with the shipped tokenizer of its family")
    known = [name for family in family_names() for name in settings(family).members]
    member.add_argument("name", choices=known)
    member.add_argument(
        "--beside", type=_count, default=0, help="other members on the device, for the record"
    )
    _add_options(member)
    whole = add("family", "make the tokenizer, then every member, on one device")
    _add_family(whole)
    whole.add_argument(
        "--at-once",
        action="store_true",
        help="all members at the same time, with the shipped tokenizer; the workers are shared out",
    )
    _add_options(whole)
    evaluation = add("evaluate", "measure the accuracy of a member's folder")
    evaluation.add_argument("folder", type=Path)
    evaluation.add_argument("--device", default="cpu")
    evaluation.add_argument("--questions", type=_positive, default=224)
    evaluation.add_argument("--split", choices=("development", "evaluation"), default="development")
    evaluation.add_argument("--record", action="store_true", help="into training.json and the model card")
    cards = add("card", "write the model card of a member's folder again")
    cards.add_argument("folder", type=Path)
    for name, text in (("pack", "to the tighter form that the pipeline reads too"), ("unpack", "back")):
        add(name, f"turn the weights of a member's folder {text}").add_argument("folder", type=Path)
    add("data", "write data/seeds and data/eval of every family")
    add("check", "check that the splits share no text and the data files are what they claim")
    return parser


def _make_tokenizer(family: str, folder: Path) -> None:
    from training import tokenizer

    tokenizer.save(tokenizer.train(settings(family)), settings(family), folder)
    print(f"wrote {folder}", flush=True)


def _make_member(arguments: argparse.Namespace, name: str, tokenizer: Path | None, beside: int = 0) -> None:
    from training.family import make_member

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
        beside=beside,
    )


def _make_family(arguments: argparse.Namespace) -> None:
    if arguments.at_once:
        from training.together import train_all

        if not train_all(settings(arguments.family), arguments.workers, _handed_on(arguments)):
            sys.exit(1)
        return
    folder = arguments.out / settings(arguments.family).tokenizer.name
    _make_tokenizer(arguments.family, folder)
    for member in settings(arguments.family).shipped:
        _make_member(arguments, member.name, folder)


def _handed_on(arguments: argparse.Namespace) -> list[str]:
    """The options of `family` that each of its members is made with."""
    options = ["--out", str(arguments.out), "--device", arguments.device]
    options += ["--questions", str(arguments.questions)]
    if arguments.tokens is not None:
        options += ["--tokens", str(arguments.tokens)]
    if arguments.max_minutes is not None:
        options += ["--max-minutes", str(arguments.max_minutes)]
    return [*options, "--eager"] if arguments.eager else options


def _evaluate(arguments: argparse.Namespace) -> None:
    from training import record
    from training.evaluate import evaluate

    score = evaluate(arguments.folder, arguments.device, arguments.questions, arguments.split)
    print(json.dumps(score, indent=1))
    if arguments.record:
        record.add_evaluation(arguments.folder, score)


def main() -> None:
    """Run one command."""
    parser = _parser()
    arguments = parser.parse_args()
    if "device" in arguments and not arguments.__dict__.get("at_once"):  # at once, the members look
        arguments.device = _device(parser, arguments.device)
    match arguments.command:
        case "tokenizer":
            _make_tokenizer(arguments.family, arguments.out or settings(arguments.family).tokenizer)
        case "member":
            _make_member(arguments, arguments.name, None, arguments.beside)
        case "family":
            _make_family(arguments)
        case "evaluate":
            _evaluate(arguments)
        case "card":
            from training import record

            record.write(arguments.folder, record.read(arguments.folder))
        case "pack" | "unpack" as command:
            from training import packing

            (packing.pack_folder if command == "pack" else packing.unpack_folder)(arguments.folder)
        case "data":
            from training import data_files

            for name in family_names():
                data_files.write_all(settings(name))
        case "check":
            from training import check

            for name in family_names():
                check.run(settings(name))


if __name__ == "__main__":
    main()
