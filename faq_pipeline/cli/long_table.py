"""Print a table of very many rows in the look of `display.table`.

Rich takes half a second for a thousand rows: it measures and wraps every cell several times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.text import Text

from faq_pipeline.cli.display import is_numeric, out, table

MANY = 1_000
"""Rows from which on a table is printed without Rich."""
LEAST = 12
"""Columns that the last cell of a row gets at least, however narrow the terminal is."""


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
    """The table's lines. Only the last column wraps; the others are as wide as their cells.

    Args:
        width: of the terminal, in characters.
    """
    widths = [
        max([cell_len(name), *(cell_len(row[index]) for row in rows)]) for index, name in enumerate(columns)
    ]
    left = width - sum(widths[:-1]) - 3 * len(columns) - 1
    widths[-1] = min(widths[-1], max(left, LEAST, cell_len(columns[-1])))
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
    yield line(columns, "┃")
    yield frame("┡", "╇", "┩", "━")
    for row in rows:
        first, *more = _folded(row[-1], widths[-1])
        yield line([*row[:-1], first], "│")
        for part in more:
            yield line([*("" for _ in row[:-1]), part], "│")
    yield frame("└", "┴", "┘", "─")


def _folded(text: str, width: int) -> list[str]:
    if cell_len(text) <= width:
        return [text]
    return [part.plain for part in Text(text).wrap(out(), width, overflow="fold")]
