"""Table look-up: copy the row with its headings first, then choose."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from training.tasks.base import Draft, Steps, task
from training.tasks.kin.words import PEOPLE, THINGS

_SHAPES = {1: (2, 2), 2: (3, 3), 3: (4, 3), 4: (4, 3)}


@dataclass(frozen=True, slots=True)
class Grid:
    """The table that a question shows."""

    rows: list[str]
    columns: list[str]
    cells: dict[str, dict[str, int]]

    def shown(self) -> str:
        """The table as text, a line a row."""
        lines = ["name | " + " | ".join(self.columns)]
        for row in self.rows:
            lines.append(f"{row} | " + " | ".join(str(self.cells[row][c]) for c in self.columns))
        return "\n".join(lines) + "\n"

    def read(self, row: str) -> tuple[str, str]:
        """The step that copies a row with its headings."""
        pairs = ", ".join(f"{c} {self.cells[row][c]}" for c in self.columns)
        return f"{row}: {pairs}", f"The row of {row} says {pairs}."


def _look_up(rng: Random, grid: Grid, row: str, column: str) -> Draft:
    value = grid.cells[row][column]
    question = rng.choice(
        (
            f"How many {column} does {row} have?",
            f"Look up {column} for {row}.",
            f"What is in the row {row} under {column}?",
        )
    )
    last = (f"{column}: {value}", f"Under {column} it has {value}.")
    return Draft(grid.shown() + question, str(value), "read the row, choose", lambda: [grid.read(row), last])


def _add_two(rng: Random, grid: Grid, row: str, column: str) -> Draft:
    other = rng.choice([r for r in grid.rows if r != row])
    first, second = grid.cells[row][column], grid.cells[other][column]
    total = first + second
    question = rng.choice(
        (
            f"How many {column} do {row} and {other} have together?",
            f"Add the {column} of {row} and {other}.",
        )
    )

    def steps() -> Steps:
        return [
            grid.read(row),
            grid.read(other),
            (f"{column}: {first} and {second}", f"Under {column} they have {first} and {second}."),
            (f"{first} + {second} = {total}", f"{first} plus {second} is {total}."),
        ]

    return Draft(grid.shown() + question, str(total), "read both rows, add", steps)


def _whole_column(rng: Random, grid: Grid, column: str) -> Draft:
    numbers = {row: grid.cells[row][column] for row in grid.rows}
    distinct = len(set(numbers.values())) == len(numbers)
    greatest = rng.random() < 0.5 and distinct
    if greatest:
        question, answer = f"Who has the most {column}?", max(grid.rows, key=lambda row: numbers[row])
    else:
        question = f"How many {column} are there in all rows together?"
        answer = str(sum(numbers.values()))

    def steps() -> Steps:
        result: Steps = [(f"{r}: {column} {n}", f"{r} has {n} {column}.") for r, n in numbers.items()]
        if greatest:
            most = numbers[answer]
            return [*result, (f"most {most}: {answer}", f"The most is {most}, with {answer}.")]
        running, *others = numbers.values()
        for number in others:
            after = running + number
            result.append((f"{running} + {number} = {after}", f"{running} plus {number} is {after}."))
            running = after
        return result

    return Draft(grid.shown() + question, answer, "read the column row by row", steps)


@task("table")
def table(rng: Random, level: int) -> Draft:
    """One cell, the sum of two cells, a column's total or its greatest row."""
    row_count, column_count = _SHAPES[level]
    rows, columns = rng.sample(PEOPLE, row_count), rng.sample(THINGS, column_count)
    cells = {r: {c: rng.randint(2, 99) for c in columns} for r in rows}
    grid = Grid(rows, columns, cells)
    row, column = rng.choice(rows), rng.choice(columns)
    if level <= 2:
        return _look_up(rng, grid, row, column)
    if level == 3:
        return _add_two(rng, grid, row, column)
    return _whole_column(rng, grid, column)
