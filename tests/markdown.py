"""Tables in docs that tests write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

BEGIN, END = "<!-- table: written by a test -->", "<!-- end of the table -->"


def replace_table(path: Path, lines: Sequence[str]) -> None:
    """Put lines in the place of those between the marks."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, found, after = rest.partition(END)
    assert found, f"{path} has no place for a table"
    path.write_text("\n".join([before + BEGIN, *lines, END + after]), encoding="utf-8")
