"""`python -m training ...`: tokenizer, member, family, evaluate, card, data, check."""

from __future__ import annotations

import argparse
from pathlib import Path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text)

    tokenizer = add("tokenizer", "train the tokenizer that all members share")
    tokenizer.add_argument("--out", type=Path)
    for name, text in (("member", "make one member"), ("family", "make everything on one device")):
        command = add(name, text)
        if name == "member":
            command.add_argument("name")
        command.add_argument("--out", type=Path)
        command.add_argument("--device", default="cuda:0")
        command.add_argument("--workers", type=int, default=14)
        command.add_argument("--tokens", type=int)
        command.add_argument("--max-minutes", type=float)
        command.add_argument("--questions", type=int, default=1500)
        command.add_argument("--eager", action="store_true", help="do not use torch.compile")
    evaluation = add("evaluate", "measure the accuracy of a member's folder")
    evaluation.add_argument("folder", type=Path)
    evaluation.add_argument("--device", default="cpu")
    evaluation.add_argument("--questions", type=int, default=224)
    evaluation.add_argument("--split", default="development")
    cards = add("card", "write the model card of a member's folder again")
    cards.add_argument("folder", type=Path)
    add("data", "write data/seeds and data/eval")
    add("check", "check that the splits share no text and the data files are what they claim")
    return parser


def _make(arguments: argparse.Namespace, names: tuple[str, ...]) -> None:
    import torch

    from training.family import make_member
    from training.settings import MODELS

    for name in names:
        make_member(
            name,
            arguments.out or MODELS,
            torch.device(arguments.device),
            arguments.workers,
            arguments.tokens,
            arguments.max_minutes,
            arguments.questions,
            not arguments.eager,
        )


def main() -> None:
    """Run one command. Imports are local: the data workers import this module too."""
    arguments = _parser().parse_args()
    if arguments.command in ("tokenizer", "family"):
        from training import tokenizer
        from training.settings import TOKENIZER, settings

        out = (arguments.command == "tokenizer" and arguments.out) or TOKENIZER
        tokenizer.save(tokenizer.train(settings()), out)
        print(f"wrote {out}")
    if arguments.command == "member":
        _make(arguments, (arguments.name,))
    elif arguments.command == "family":
        from training.settings import shipped_members

        _make(arguments, shipped_members())
    elif arguments.command == "evaluate":
        import json

        import torch

        from training.evaluate import evaluate

        result = evaluate(
            arguments.folder, torch.device(arguments.device), arguments.questions, arguments.split
        )
        print(json.dumps(result, indent=1))
    elif arguments.command == "card":
        from training import card

        card.write(arguments.folder)
    elif arguments.command == "data":
        from training import data_files

        data_files.write_all()
    elif arguments.command == "check":
        from training import check

        check.run()


if __name__ == "__main__":
    main()
