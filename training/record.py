"""training.json: how a member was made and what it can do; its model card says the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from training import card

Record = dict[str, Any]


def read(folder: Path) -> Record:
    """The record of a member's folder."""
    entries: Record = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    return entries


def write(folder: Path, entries: Record) -> None:
    """Write training.json and the model card that goes with it."""
    text = json.dumps(entries, indent=1, ensure_ascii=False)
    (folder / "training.json").write_text(text + "\n", encoding="utf-8")
    (folder / "README.md").write_text(card.text(entries), encoding="utf-8")


def add_evaluation(folder: Path, score: dict[str, Any]) -> None:
    """Put an evaluation into the record, in place of an earlier one."""
    write(folder, {**read(folder), "evaluation": score})
