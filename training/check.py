"""Checks that no held-out text occurs in another split, and that the data files are whole."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from random import Random

from training.data_files import eval_rows, seed_rows
from training.documents import Documents
from training.settings import DATA, Settings
from training.splits import split_of

_SAMPLE = 20_000


class CheckError(Exception):
    """A data file or a split is not what it claims to be."""


def _read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def same_split(name: str, texts: list[str], split: str) -> None:
    """Raise CheckError unless every text belongs to the split."""
    for text in texts:
        if split_of(text) != split:
            raise CheckError(f"{name}: not of the split {split}: {text[:80]!r}")


def run(settings: Settings, data: Path = DATA) -> None:
    """Raise CheckError at a family's first fault; print what was checked."""
    seeds, evaluation = data / "seeds", data / "eval" / settings.name
    for folder, built in ((seeds, seed_rows(settings)), (evaluation, eval_rows(settings))):
        for name, rows in built.items():
            if _read(folder / f"{name}.jsonl") != rows:
                raise CheckError(f"{name}.jsonl is not what the generator writes")
    owners = _owners(
        (
            (seeds / f"{settings.name}-mixed.jsonl", "text", "seeds"),
            (evaluation / "development.jsonl", "question", "development"),
            (evaluation / "choosing.jsonl", "question", "development"),
            (evaluation / "test.jsonl", "question", "evaluation"),
            (evaluation / "confirm.jsonl", "question", "evaluation"),
            (evaluation / "prose.jsonl", "text", "evaluation"),
        )
    )
    # Hard seeds may be among the others: no calibration set is made from both files.
    owners |= _owners(((seeds / f"{settings.name}-hard.jsonl", "text", "seeds"),))
    sample = _training_text(settings)
    for text, owner in sorted(owners.items()):  # a text starts a line: "64 stones" is not "164 stones"
        if "\n" + text in sample:
            raise CheckError(f"in {owner} and in the training text: {text[:80]!r}")
    print(f"{settings.name}: {len(owners)} held-out texts: each in one split, none in {_SAMPLE} documents")


def _owners(files: tuple[tuple[Path, str, str], ...]) -> dict[str, str]:
    """The file of every held-out text; each must be of its split, and in one file once."""
    owners: dict[str, str] = {}
    for path, field, split in files:
        texts = [str(row[field]) for row in _read(path)]
        same_split(path.name, texts, split)
        twice = [text for text, count in Counter(texts).items() if count > 1]
        if twice:
            raise CheckError(f"{path.name}: twice in the file: {twice[0][:80]!r}")
        for text in texts:
            if owners.setdefault(text, path.name) != path.name:
                raise CheckError(f"in {owners[text]} and in {path.name}: {text[:80]!r}")
    return owners


def _training_text(settings: Settings) -> str:
    """A sample of training documents in which every question and passage starts a line."""
    documents = Documents(settings, settings.mix, Random("check"))
    sample = "\n" + "\n".join(next(documents) for _ in range(_SAMPLE))
    if settings.chat.begin:
        sample = sample.replace(settings.chat.begin, "")
    return sample.replace("\nQuestion: ", "\n")
