"""Widths of a table's columns, and cells folded to them at word ends.

Rich makes columns narrower without a look at their words, and then breaks words in the middle.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from rich.cells import cell_len, set_cell_size

FRAME = 3
"""Characters of a column's frame; the table has one more."""
LEAST = 8
"""A column is not made narrower than this, however narrow the terminal is."""
NUMERIC = "-+0123456789.<"
PLACE = set("/@|")
"""Characters that no number has, and addresses and cells have."""
EASY = 16
"""Characters of a text that its column keeps while other columns can give way: very narrow ones are hard to
read."""
SHORT = 12
"""Characters of a number with its unit up to which it is not folded."""
_ENDS = re.compile(r"(?<=[/@|:=])|(?<=[-_.])(?=[A-Za-z])|(?<=[⺀-￠])")
"""Where a name that is too long may be folded: behind its punctuation, and between CJK characters."""


def is_numeric(cells: Sequence[str]) -> bool:
    """Whether a column holds numbers alone."""
    return bool(cells) and all(not cell or cell[0] in NUMERIC for cell in cells)


def fit(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Widths of the columns such that the table fits into `width` characters, frame included.

    Columns give way, the widest first, in this order: texts fold between words; names fold at their
    punctuation; columns become narrower than `EASY`; numbers part from their intervals; the names in
    the first column fold; short numbers part from their units; and at last what does not fit is cut off.
    A terminal that is too narrow even for this gets a wider table.
    """
    cells = [[row[index] for row in rows] for index in range(len(columns))]
    whole = [_widest([name, *own], str.splitlines) for name, own in zip(columns, cells, strict=True)]
    words = [_widest([name, *own], str.split) for name, own in zip(columns, cells, strict=True)]
    parts = [_widest([name, *own], _parts) for name, own in zip(columns, cells, strict=True)]
    longest = [_widest(own, str.splitlines) for own in cells]
    numeric = [is_numeric(own) for own in cells]
    first = [width if index == 0 else 0 for index, width in enumerate(longest)]
    kept = [width if index == 0 or numeric[index] else 0 for index, width in enumerate(longest)]
    short = [width if numeric[index] and width <= SHORT else 0 for index, width in enumerate(longest)]
    easy = [min(width, EASY) for width in longest]
    left = width - FRAME * len(columns) - 1
    widths = [min(natural, max(left, LEAST)) for natural in whole]
    for floors in (
        map(max, words, kept, easy),
        map(max, parts, kept, easy),
        map(max, parts, kept),
        map(max, parts, first, short),
        map(max, parts, short),
        parts,
        (min(part, LEAST) for part in parts),
    ):
        _narrow(widths, list(floors), left)
    return widths


def fold(text: str, width: int) -> list[str]:
    """The lines of a cell. A word that is wider than the column is folded at its punctuation, or cut off."""
    lines: list[str] = []
    for given in text.splitlines() or [""]:
        line = ""
        for word in given.split(" "):
            joined = f"{line} {word}" if line else word
            if cell_len(joined) <= width:
                line = joined
                continue
            first = True
            for part in [word] if cell_len(word) <= width else _parts(word):
                glue = " " if first and line else ""
                first = False
                if cell_len(line + glue + part) <= width:
                    line += glue + part
                    continue
                if line:
                    lines.append(line)
                line = part if cell_len(part) <= width else set_cell_size(part, width - 1).rstrip() + "…"
        lines.append(line)
    return lines


def _narrow(widths: list[int], floors: Sequence[int], left: int) -> None:
    """Make the widest columns narrower, none below its floor, until the sum is at most `left`."""
    while sum(widths) > left:
        able = [index for index, width in enumerate(widths) if width > floors[index]]
        if not able:
            return
        widths[max(able, key=lambda index: (widths[index], index))] -= 1


def _widest(cells: Sequence[str], split: Callable[[str], Sequence[str]]) -> int:
    return max((cell_len(part) for cell in cells for part in split(cell)), default=0)


def _parts(text: str) -> list[str]:
    return [part for word in text.split() for part in _parts_of(word)]


def _parts_of(word: str) -> Iterator[str]:
    """A word's parts. A number, a date and an interval are one part; an address with a port is not."""
    if word[0] in NUMERIC and not PLACE & set(word) and not any(map(str.isalpha, word)):
        yield word
    else:
        yield from (part for part in _ENDS.split(word) if part)
