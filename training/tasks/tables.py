"""Table look-up: copy the row with its headings first, then choose."""

from __future__ import annotations

from random import Random

from training.tasks.base import Draft, Steps, task
from training.tasks.words import PEOPLE, THINGS

_SHAPES = {1: (2, 2), 2: (3, 3), 3: (4, 3), 4: (4, 3)}


@task("table")
def table(rng: Random, level: int) -> Draft:
    """One cell, the sum or difference of two cells, a column's total or its greatest row."""
    row_count, column_count = _SHAPES[level]
    rows, columns = rng.sample(PEOPLE, row_count), rng.sample(THINGS, column_count)
    cells = {r: {c: rng.randint(2, 99) for c in columns} for r in rows}
    head = "name | " + " | ".join(columns)
    body = "\n".join(f"{r} | " + " | ".join(str(cells[r][c]) for c in columns) for r in rows)
    shown = f"{head}\n{body}\n"
    row, column = rng.choice(rows), rng.choice(columns)
    value = cells[row][column]

    def read(name: str) -> tuple[str, str]:
        pairs = ", ".join(f"{c} {cells[name][c]}" for c in columns)
        return f"{name}: {pairs}", f"The row of {name} says {pairs}."

    if level <= 2:
        question = shown + rng.choice(
            (
                f"How many {column} does {row} have?",
                f"Look up {column} for {row}.",
                f"What is in the row {row} under {column}?",
            )
        )
        last = (f"{column}: {value}", f"Under {column} it has {value}.")
        return Draft(question, str(value), "read the row, choose", lambda: [read(row), last])
    if level == 3:
        other = rng.choice([r for r in rows if r != row])
        second = cells[other][column]
        total = value + second
        question = shown + rng.choice(
            (
                f"How many {column} do {row} and {other} have together?",
                f"Add the {column} of {row} and {other}.",
            )
        )
        picked = f"{column}: {value} and {second}"
        return Draft(
            question,
            str(total),
            "read both rows, add",
            lambda: [
                read(row),
                read(other),
                (picked, f"Under {column} they have {value} and {second}."),
                (f"{value} + {second} = {total}", f"{value} plus {second} is {total}."),
            ],
        )
    numbers = [cells[r][column] for r in rows]
    if rng.random() < 0.5 and len(set(numbers)) == len(numbers):
        best = max(rows, key=lambda r: cells[r][column])
        question = shown + f"Who has the most {column}?"
        answer = best
    else:
        question = shown + f"How many {column} are there in all rows together?"
        answer = str(sum(numbers))

    def steps() -> Steps:
        result: Steps = [
            (f"{r}: {column} {cells[r][column]}", f"{r} has {cells[r][column]} {column}.")
            for r in rows
        ]
        if answer.isdigit():
            running = numbers[0]
            for number in numbers[1:]:
                after = running + number
                result.append((f"{running} + {number} = {after}", f"{running} plus {number} is {after}."))
                running = after
        else:
            most = cells[answer][column]
            result.append((f"most {most}: {answer}", f"The most is {most}, with {answer}."))
        return result

    return Draft(question, answer, "read the column row by row", steps)
