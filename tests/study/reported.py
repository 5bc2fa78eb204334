"""What a report of the study `trial` says, read from its files."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from tests.orchestration.cli import Faq


@dataclass(frozen=True)
class Reported:
    """A report's text, cells and JSON; what each arm's data cost, and what it costs more, by title."""

    text: str
    cells: list[dict[str, str]]
    json: dict[str, Any]
    costs: dict[str, list[str]]
    costs_more: dict[str, str]


def reported(faq: Faq, folder: Path) -> Reported:
    """What `faq study report` writes."""
    said = faq.json("study", "report", "trial", "--out", str(folder / "out"))
    text = (folder / "out/report.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    head = next(i for i, row in enumerate(rows) if row[:2] == ["arm", "tokens sampled"])
    table = takewhile(lambda row: len(row) > 1, rows[head + 2 :])
    more = next(i for i, row in enumerate(rows) if row[-1] == "costs more")
    compared = takewhile(lambda row: len(row) > 1, rows[more + 2 :])
    with (folder / "out/cells.csv").open() as file:
        cells = list(csv.DictReader(file))
    return Reported(
        text, cells, said, {row[0]: row[1:] for row in table}, {row[1]: row[-1] for row in compared}
    )
