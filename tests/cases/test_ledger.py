"""A damaged line in a sample ledger costs the samples of that line and no others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cases.known_fault import known_fault
from tests.regeneration.test_ledger import Engine, run

REASON = "one damaged line in the ledger ends the run, and every later one"


def lose_a_page(segment: Path) -> None:
    content = bytearray(segment.read_bytes())
    content[200:400] = bytes(200)
    segment.write_bytes(content)


def insert_text(segment: Path) -> None:
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join([*lines[:3], b"{oops\n", *lines[3:]]))


def append_half_an_entry(segment: Path) -> None:
    segment.write_bytes(segment.read_bytes() + b'{"key": "x"}\n')


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lose_a_page, marks=known_fault(REASON, json.JSONDecodeError)),
        pytest.param(insert_text, marks=known_fault(REASON, json.JSONDecodeError)),
        pytest.param(append_half_an_entry, marks=known_fault(REASON, KeyError)),
    ],
)
def test_a_damaged_line_loses_only_itself(tmp_path: Path, damage) -> None:
    """The next run keeps all other samples, asks for the lost ones again and ends as the first did."""
    good = run(Engine(), tmp_path)
    damage(next(tmp_path.glob("*/*.jsonl")))
    engine = Engine()
    assert run(engine, tmp_path) == good
    assert len(engine.asked) <= 4
