"""Unit conversion with measures that each question states."""

from __future__ import annotations

from random import Random

from training.tasks.base import Draft, Steps, task
from training.tasks.kin.arithmetic import division_steps, multiplication_steps

CHAINS = (
    ("barrel", "jug", "cup"),
    ("league", "mile", "rod"),
    ("crate", "box", "tin"),
    ("shift", "hour", "bell"),
    ("sack", "bowl", "spoon"),
    ("bolt", "yard", "span"),
)


def plural(unit: str) -> str:
    """The plural of a unit's name."""
    return unit + "es" if unit.endswith("x") else unit + "s"


def _rule(big: str, number: int, small: str) -> str:
    return f"1 {big} is {number} {plural(small)}"


@task("units")
def units(rng: Random, level: int) -> Draft:
    """Convert down one or two units, convert a mixed amount, or convert up with a rest."""
    big, middle, small = rng.choice(CHAINS)
    high = 12 if level < 4 else 19
    f, g = rng.randint(3, high), rng.randint(3, high)
    n = rng.randint(3, 9) if level != 1 else rng.randint(3, 40)
    rules = f"{_rule(big, f, middle)} and {_rule(middle, g, small)}"
    plan = "one unit at a time"
    if level == 1:
        question = f"{_rule(big, f, middle)}. How many {plural(middle)} are {n} {plural(big)}?"
        return Draft(question, str(n * f), plan, lambda: multiplication_steps(f, n))
    if level == 2:
        question = f"{rules}. How many {plural(small)} are {n} {plural(big)}?"
        return Draft(
            question,
            str(n * f * g),
            plan,
            lambda: multiplication_steps(f, n) + multiplication_steps(g, n * f),
        )
    if level == 3 or rng.random() < 0.5:
        a, b = rng.randint(1, f - 1), rng.randint(1, g - 1)
        one = n * f + a
        total = one * g + b
        question = rng.choice(
            (
                "{r}. How many {s} are {n} {bb}, {a} {m} and {b} {s}?",
                "{r}. Give {n} {bb}, {a} {m} and {b} {s} in {s} alone.",
            )
        ).format(r=rules, s=plural(small), n=n, bb=plural(big), a=a, m=plural(middle), b=b)

        def down() -> Steps:
            return [
                *multiplication_steps(f, n),
                (f"{n * f} + {a} = {one}", f"With {a} more that is {one} {plural(middle)}."),
                *multiplication_steps(g, one),
                (f"{one * g} + {b} = {total}", f"With {b} more the total is {total}."),
            ]

        return Draft(question, str(total), plan, down)
    rest = rng.randint(0, g - 1)
    amount = rng.randint(12, 99)
    total = amount * g + rest
    question = (
        f"{_rule(middle, g, small)}. How many whole {plural(middle)} do {total} {plural(small)}"
        " fill, and how many are left?"
    )
    answer = f"{amount} left {rest}"
    return Draft(
        question,
        answer,
        plan,
        lambda: [
            *division_steps(total, g),
            (f"{answer}", f"So the whole number and the rest are {answer}."),
        ],
    )
