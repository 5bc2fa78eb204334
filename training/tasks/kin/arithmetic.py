"""Multiplication and remainders, worked place by place."""

from __future__ import annotations

from random import Random

from training.tasks.base import Draft, Steps, task


def places(number: int) -> list[int]:
    """347 -> [300, 40, 7], without zero parts."""
    digits = str(number)
    parts = [int(d) * 10 ** (len(digits) - 1 - i) for i, d in enumerate(digits)]
    return [part for part in parts if part]


def multiplication_steps(a: int, b: int) -> Steps:
    """a * b by splitting b into places, then adding the parts one by one."""
    if b < 10:
        a, b = b, a
    parts = places(b)
    if len(parts) == 1:
        return [(f"{a} * {b} = {a * b}", f"{a} times {b} is {a * b}.")]
    split = " + ".join(map(str, parts))
    steps: Steps = [(f"{b} = {split}", f"Split {b} into {split}.")]
    for part in parts:
        steps.append((f"{a} * {part} = {a * part}", f"{a} times {part} is {a * part}."))
    total = a * parts[0]
    for part in parts[1:]:
        steps.append(
            (
                f"{total} + {a * part} = {total + a * part}",
                f"Adding {total} and {a * part} gives {total + a * part}.",
            )
        )
        total += a * part
    return steps


def division_steps(a: int, b: int) -> Steps:
    """Take multiples of b away from a, highest place first, until less than b is left."""
    steps: Steps = []
    left = a
    for part in places(a // b):
        taken = part * b
        steps.append(
            (
                f"{b} * {part} = {taken}, {left} - {taken} = {left - taken}",
                f"{part} times {b} is {taken}, and {left} minus {taken} leaves {left - taken}.",
            )
        )
        left -= taken
    return steps


_TIMES = (
    "What is {a} times {b}?",
    "Multiply {a} by {b}.",
    "Work out {a} * {b}.",
    "Find the product of {a} and {b}.",
)
_FACTORS = {1: (12, 99, 3, 9), 2: (12, 99, 12, 99), 3: (112, 999, 12, 99), 4: (112, 999, 112, 999)}


@task("multiply")
def multiply(rng: Random, level: int) -> Draft:
    """A product of two numbers of one to three digits."""
    low, high, low2, high2 = _FACTORS[level]
    a, b = rng.randint(low, high), rng.randint(low2, high2)
    question = rng.choice(_TIMES).format(a=a, b=b)
    plan = "split, multiply, add"
    return Draft(question, str(a * b), plan, lambda: multiplication_steps(a, b))


_REMAINDER = (
    "What is {a} mod {b}?",
    "What is the remainder when {a} is divided by {b}?",
    "Divide {a} by {b} and give the remainder.",
    "{a} stones are put in rows of {b}. How many stones are left over?",
)
_DIVISIONS = {1: (20, 99, 3, 9), 2: (100, 999, 3, 9), 3: (200, 999, 11, 29), 4: (2000, 9999, 12, 49)}


@task("modulo")
def modulo(rng: Random, level: int) -> Draft:
    """The remainder of a division."""
    low, high, low2, high2 = _DIVISIONS[level]
    a, b = rng.randint(low, high), rng.randint(low2, high2)
    left = a % b

    def steps() -> Steps:
        ending = (f"{left} < {b}: {left}", f"Since {left} is less than {b}, the remainder is {left}.")
        return [*division_steps(a, b), ending]

    question = rng.choice(_REMAINDER).format(a=a, b=b)
    return Draft(question, str(left), "take multiples away", steps)
