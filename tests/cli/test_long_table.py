"""A table of very many rows looks as Rich prints a short one."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from faq_pipeline.cli.display import table
from faq_pipeline.cli.long_table import long_table

COLUMNS = ("stage", "key that is long", "size", "cells")
ROWS = [
    ["seed_data", "00ab", "12 kB", "kin-2m@72010fd6 faq-one-gptq-w3a16, and 24 more"],
    ["quantized_checkpoint", "7", "4 MB", "-"],
    ["eval_report", "ffff", "1 kB", "模型-7b@01234567 a-recipe-of-a-long-name, and 3 more"],
]


@pytest.mark.parametrize("width", [140, 80, 64])
def test_a_long_table_looks_as_a_short_one(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faq_pipeline.cli.display.PIPED", width)
    console = Console(width=width, file=io.StringIO(), highlight=False)
    console.print(table("Artifacts", COLUMNS, ROWS))
    expected = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line.rstrip() for line in expected] == list(long_table("Artifacts", COLUMNS, ROWS, width))


def test_on_a_terminal_that_is_too_narrow_columns_keep_some_width() -> None:
    lines = list(long_table("Artifacts", COLUMNS, ROWS, 20))
    assert len({len(line) for line in lines[1:4]}) == 1
    assert "kin-2m" in "".join(lines)
