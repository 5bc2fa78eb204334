"""Converts rows of prompts into the rows of a seed file; pure: rows in, rows out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from faq_pipeline.quickstart.seed_forms import OURS, Form
from faq_pipeline.quickstart.seed_values import UnusableRowError, first_of, optional_text, word
from faq_pipeline.store.records import Kind, Seed

DOMAINS = ("domain", "category", "topic", "subject", "task")
LICENCES = ("licence", "license")


@dataclass(frozen=True)
class Refused:
    """A row that became no seed; `line` is 1-based."""

    line: int
    reason: str


@dataclass(frozen=True)
class Converted:
    """The seeds of a file in its order with their lines by id, and the rows that became none."""

    form: str
    seeds: list[Seed]
    lines: dict[str, int]
    refused: list[Refused]


def convert(form: Form, rows: Iterable[tuple[int, Any]], file: str) -> Converted:
    """Seeds out of rows; ids are unique, and no text occurs twice.

    Args:
        rows: each with its line; what is no mapping is refused.
        file: its name, the `source` of rows that have none; ids of rows without one are made of it.
    """
    seeds: dict[str, Seed] = {}
    lines: dict[str, int] = {}
    texts: dict[str, int] = {}
    refused: list[Refused] = []
    for line, row in rows:
        try:
            seed = _seed(form, row, line, file, seeds)
            if seed.text in texts:
                raise UnusableRowError(f"the same text as line {texts[seed.text]}")
        except UnusableRowError as error:
            refused.append(Refused(line, str(error)))
            continue
        seeds[seed.id] = seed
        lines[seed.id] = texts[seed.text] = line
    return Converted(form.name, list(seeds.values()), lines, refused)


def _seed(form: Form, row: Any, line: int, file: str, taken: Mapping[str, Seed]) -> Seed:
    if isinstance(row, UnusableRowError):
        raise row
    if not isinstance(row, Mapping):
        raise UnusableRowError("not an object")
    text, answer = form.read(row)
    made = f"{file.partition('.')[0] or 'seed'}-{line:05}"
    own = row.get("id")
    seed_id = str(own) if isinstance(own, (str, int)) and word(str(own)) else made
    if seed_id in taken:
        seed_id = next(
            f"{made}{more}"
            for more in ("", *(f"-{n}" for n in range(2, len(taken) + 3)))
            if f"{made}{more}" not in taken
        )
    kind: Kind = row["kind"] if form is OURS else form.kind
    return Seed(
        id=seed_id,
        text=text,
        kind=kind,
        answer=answer,
        domain=word(optional_text(first_of(row, DOMAINS))) or "general",
        source=word(row.get("source")) or file,
        licence=word(first_of(row, LICENCES)) or "unknown",
    )
