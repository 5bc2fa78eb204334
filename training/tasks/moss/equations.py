"""Linear equations, undone step by step."""

from __future__ import annotations

from random import Random

from training.tasks.base import Draft, Steps, task
from training.tasks.moss.words import NAMES


def _solve(a: int, b: int, c: int, x: int) -> Steps:
    """a * x + b = c, where a part that is not there is 1 or 0."""
    steps: Steps = []
    right = a * x
    if b > 0:
        steps.append((f"{c} - {b} = {right}", f"Take {b} from {c}, which is {right}."))
    elif b < 0:
        steps.append((f"{c} + {-b} = {right}", f"Add {-b} to {c}, which is {right}."))
    if a > 1:
        steps.append((f"{right} / {a} = {x}", f"{right} by {a} is {x}."))
    return steps


def _side(a: int, b: int) -> str:
    left = "x" if a == 1 else f"{a}x"
    return left if b == 0 else f"{left} {'+' if b > 0 else '-'} {abs(b)}"


_SOLVE = ("Solve {e}. What is x?", "Find x: {e}", "{p} wants to know x in {e}. What is it?")


@task("equation")
def equation(rng: Random, level: int) -> Draft:
    """x with a summand, with a factor too, on both sides, or (level 4) in brackets."""
    x = rng.randint(2, 30 if level == 1 else 20)
    a = 1 if level == 1 else rng.randint(2, 9)
    b = rng.choice((-1, 1)) * rng.randint(2, 40)
    person = rng.choice(NAMES)
    ask = rng.choice(_SOLVE)
    if level <= 2:
        if a * x + b < 0:
            b = -b
        c = a * x + b
        question = ask.format(e=f"{_side(a, b)} = {c}", p=person)
        return Draft(question, str(x), "undo step by step", lambda: _solve(a, b, c, x))
    if level == 3:
        d = rng.randint(1, a - 1)
        b = abs(b)
        c = (a - d) * x + b
        question = ask.format(e=f"{_side(a, b)} = {_side(d, c)}", p=person)

        def both() -> Steps:
            less = f"{a}x - {'x' if d == 1 else f'{d}x'} = {_side(a - d, 0)}"
            took = f"Take {'x' if d == 1 else f'{d}x'} from both sides: {_side(a - d, b)} is {c}."
            last = (f"x: {x}", f"So x is {x}.")
            return [(less, took), *_solve(a - d, b, c, x), last]

        return Draft(question, str(x), "bring x to one side", both)
    inner, b = rng.randint(2, 15), rng.randint(2, 40)
    total = a * (x + inner) + b
    question = ask.format(e=f"{a}(x + {inner}) + {b} = {total}", p=person)

    def brackets() -> Steps:
        outer = a * (x + inner)
        return [
            (f"{total} - {b} = {outer}", f"Take {b} from {total}, which is {outer}."),
            (f"{outer} / {a} = {x + inner}", f"{outer} by {a} is {x + inner}."),
            (f"{x + inner} - {inner} = {x}", f"Take {inner} from {x + inner}, which is {x}."),
        ]

    return Draft(question, str(x), "undo step by step", brackets)
