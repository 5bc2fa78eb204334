"""Checks that no held-out text occurs in another split, and that the data files are whole."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from random import Random

from training.data_files import EVAL, SEEDS, eval_rows, seed_rows
from training.documents import Documents
from training.settings import settings
from training.splits import split_of

_SAMPLE = 20_000


class CheckError(Exception):
    """A data file or a split is not what it claims to be."""


def _read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _same_split(name: str, texts: list[str], split: str) -> None:
    for text in texts:
        if split_of(text) != split:
            raise CheckError(f"{name}: not of the split {split}: {text[:80]!r}")


def run() -> None:
    """Raise CheckError at the first fault; print what was checked."""
    for folder, built in ((SEEDS, seed_rows()), (EVAL, eval_rows())):
        for name, rows in built.items():
            if _read(folder / f"{name}.jsonl") != rows:
                raise CheckError(f"{name}.jsonl is not what the generator writes")
    owners: dict[str, str] = {}
    files = (
        (SEEDS / "kin-prose.jsonl", "text", "seeds"),
        (SEEDS / "kin-questions.jsonl", "text", "seeds"),
        (EVAL / "development.jsonl", "question", "development"),
        (EVAL / "choosing.jsonl", "question", "development"),
        (EVAL / "test.jsonl", "question", "evaluation"),
        (EVAL / "confirm.jsonl", "question", "evaluation"),
        (EVAL / "prose.jsonl", "text", "evaluation"),
    )
    for path, field, split in files:
        texts = [str(row[field]) for row in _read(path)]
        _same_split(path.name, texts, split)
        twice = [text for text, count in Counter(texts).items() if count > 1]
        if twice:
            raise CheckError(f"{path.name}: twice in the file: {twice[0][:80]!r}")
        for text in texts:
            if owners.setdefault(text, path.name) != path.name:
                raise CheckError(f"in {owners[text]} and in {path.name}: {text[:80]!r}")
    documents = Documents(settings(), Random("check"))
    held_out = sorted(owners)
    sample = "\n" + "\n".join(next(documents) for _ in range(_SAMPLE))
    sample = sample.replace("\nQuestion: ", "\n")
    for text in held_out:  # a text starts a line: "64 stones" is not "164 stones"
        if "\n" + text in sample:
            raise CheckError(f"in {owners[text]} and in the training text: {text[:80]!r}")
    print(f"{len(held_out)} held-out texts: each in one split, none in {_SAMPLE} training documents")
