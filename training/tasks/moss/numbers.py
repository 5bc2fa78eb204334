"""Sequences, averages and decimals."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from training.tasks.base import Draft, Steps, task
from training.tasks.moss.words import GOODS, NAMES

_NEXT = (
    "What comes next: {s}?",
    "Continue the sequence {s} with one number.",
    "Which number follows {s}?",
)


def _terms(rng: Random, level: int) -> list[int]:
    """A sequence with its next term: steps that are equal, alternate or grow by the same each time."""
    start = rng.randint(1, 90)
    if level <= 2:
        step = rng.randint(2, 9) if level == 1 else rng.choice((-1, 1)) * rng.randint(4, 19)
        if step < 0:
            start += 5 * -step
        return [start + i * step for i in range(5 if level == 1 else 6)]
    if level == 3:
        first, second = rng.sample(range(1, 13), 2)
        steps = [first, second] * 3
    else:
        first, growth = rng.randint(1, 9), rng.randint(1, 5)
        steps = [first + i * growth for i in range(6)]
    terms = [start]
    for step in steps:
        terms.append(terms[-1] + step)
    return terms


def _gap(a: int, b: int) -> tuple[str, str]:
    if b > a:
        return f"{b} - {a} = {b - a}", f"{b} minus {a} is {b - a}"
    return f"{a} - {b} = {a - b}", f"{a} minus {b} is {a - b}"


@task("sequence")
def sequence(rng: Random, level: int) -> Draft:
    """The next number: equal steps, then alternating ones, then growing ones."""
    terms = _terms(rng, level)
    shown, answer = terms[:-1], terms[-1]
    question = rng.choice(_NEXT).format(s=", ".join(map(str, shown)))

    def steps() -> Steps:
        gaps = [_gap(a, b) for a, b in pairwise(shown)]
        step = answer - shown[-1]
        mark, word = ("+", "plus") if step > 0 else ("-", "minus")
        kind = ("the same each time", "in turn", "growing")[max(0, level - 2)]
        return [
            *[(terse, said + ".") for terse, said in gaps],
            (f"next {mark} {abs(step)}", f"The steps are {kind}, so the next is {word} {abs(step)}."),
            (
                f"{shown[-1]} {mark} {abs(step)} = {answer}",
                f"{shown[-1]} {word} {abs(step)} is {answer}.",
            ),
        ]

    return Draft(question, str(answer), "find the steps, add the next", steps)


def _add_up(numbers: list[int]) -> Steps:
    steps: Steps = []
    total = numbers[0]
    for number in numbers[1:]:
        line = f"{total} + {number} = {total + number}"
        steps.append((line, f"{total} plus {number} is {total + number}."))
        total += number
    return steps


_AVERAGE = (
    "What is the average of {n}?",
    "Find the mean of {n}.",
    "{p} counts {n} {g} on different days. How many is that on average?",
)
_COUNTS = {1: 2, 2: 3, 3: 4, 4: 4}


@task("average")
def average(rng: Random, level: int) -> Draft:
    """The mean of two to four numbers, or (level 4) the number that is missing for a given mean."""
    count = _COUNTS[level]
    mean = rng.randint(5, 50 if level < 3 else 40)
    while True:
        numbers = [rng.randint(2, 2 * mean) for _ in range(count - 1)]
        last = count * mean - sum(numbers)
        if 1 < last < 3 * mean:
            break
    person, good = rng.choice(NAMES), rng.choice(GOODS)
    total = count * mean
    if level == 4:
        listed = ", ".join(map(str, numbers))
        question = (
            f"The average of {count} numbers is {mean}. Three of them are {listed}. What is the fourth?"
        )

        def missing() -> Steps:
            known = total - last
            return [
                (f"{count} * {mean} = {total}", f"In all there are {count} times {mean}, so {total}."),
                *_add_up(numbers),
                (f"{total} - {known} = {last}", f"{total} minus {known} is {last}."),
            ]

        return Draft(question, str(last), "total, take away the known", missing)
    numbers.append(last)
    listed = ", ".join(map(str, numbers[:-1])) + f" and {last}"
    question = rng.choice(_AVERAGE).format(n=listed, p=person, g=good)

    def steps() -> Steps:
        line = (f"{total} / {count} = {mean}", f"{total} by {count} is {mean}.")
        return [*_add_up(numbers), line]

    return Draft(question, str(mean), "add up, divide", steps)


def _decimal(hundredths: int) -> str:
    """340 -> 3.4, 345 -> 3.45."""
    text = f"{hundredths // 100}.{hundredths % 100:02d}"
    return text.removesuffix("0")


def _padded(hundredths: int) -> str:
    return f"{hundredths // 100}.{hundredths % 100:02d}"


_DECIMALS = {1: (3, 900), 2: (4, 300), 3: (5, 100), 4: (7, 100)}
_ASK_DECIMALS = (
    "Which is the {w} of {n}?",
    "Find the {w} number: {n}.",
    "{p} compares {n}. Which is the {w}?",
)


@task("decimals")
def decimals(rng: Random, level: int) -> Draft:
    """The largest or smallest of three to seven numbers with one or two decimals."""
    count, spread = _DECIMALS[level]
    low = 100 * rng.randint(0, 9)
    drawn: dict[int, None] = {}
    while len(drawn) < count:
        number = low + rng.randint(1, spread - 1)
        number = number // 10 * 10 if rng.random() < 0.4 else number
        if number % 100:
            drawn[number] = None
    numbers = list(drawn)
    largest = rng.random() < 0.5
    best = max(numbers) if largest else min(numbers)
    word, mark, said = ("largest", ">", "more") if largest else ("smallest", "<", "less")
    question = rng.choice(_ASK_DECIMALS).format(
        w=word, n=", ".join(map(_decimal, numbers)), p=rng.choice(NAMES)
    )

    def steps() -> Steps:
        result: Steps = []
        now = numbers[0]
        for number in numbers[1:]:
            held, other = (now, number) if (now > number) == largest else (number, now)
            result.append(
                (
                    f"{_padded(held)} {mark} {_padded(other)}",
                    f"{_padded(held)} is {said} than {_padded(other)}.",
                )
            )
            now = held
        return [*result, (f"{word}: {_decimal(best)}", f"The {word} is {_decimal(best)}.")]

    return Draft(question, _decimal(best), "two decimals each, compare in turn", steps)
