"""Print a table of very many rows in the look of `display.table`.

Rich takes half a second for a thousand rows: it measures and wraps every cell several times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest

from rich.cells import cell_len

from faq_pipeline.cli.columns import fit, fold, is_numeric
from faq_pipeline.cli.display import out, table

MANY = 1_000
"""Rows from which on a table is printed without Rich."""


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, however many rows it has."""
    console = out()
    if len(rows) < MANY or console.options.ascii_only:
        console.print(table(title, columns, rows))
        return
    for line in long_table(title, columns, rows, console.width):
        print(line)


def long_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], width: int
) -> Iterator[str]:
    """The table's lines.

    Args:
        width: of the terminal, in characters.
    """
    widths = fit(columns, rows, width)
    numeric = [is_numeric([row[index] for row in rows]) for index in range(len(columns))]

    def line(cells: Sequence[str], bar: str) -> str:
        padded = (
            " " * (w - cell_len(cell)) + cell if right else cell + " " * (w - cell_len(cell))
            for cell, w, right in zip(cells, widths, numeric, strict=True)
        )
        return f"{bar} {f' {bar} '.join(padded)} {bar}"

    def frame(start: str, between: str, end: str, stroke: str) -> str:
        return start + between.join(stroke * (w + 2) for w in widths) + end

    yield title
    yield frame("┏", "┳", "┓", "━")
    yield from (line(cells, "┃") for cells in reversed(list(_folded(columns, widths, upwards=True))))
    yield frame("┡", "╇", "┩", "━")
    for row in rows:
        yield from (line(cells, "│") for cells in _folded(row, widths))
    yield frame("└", "┴", "┘", "─")


def _folded(row: Sequence[str], widths: Sequence[int], *, upwards: bool = False) -> Iterator[tuple[str, ...]]:
    """The lines of a row, the last one first if `upwards`: headings stand at the bottom."""
    cells = (fold(cell, own)[:: -1 if upwards else 1] for cell, own in zip(row, widths, strict=True))
    return zip_longest(*cells, fillvalue="")
