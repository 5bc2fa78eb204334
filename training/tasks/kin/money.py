"""Shopping totals."""

from __future__ import annotations

from random import Random

from training.tasks.base import Draft, Steps, task
from training.tasks.kin.words import PEOPLE, THINGS

_SHAPES = {1: (2, 9, 9), 2: (3, 9, 12), 3: (3, 9, 29), 4: (4, 12, 39)}


@task("shopping")
def shopping(rng: Random, level: int) -> Draft:
    """The price of several goods; from level 3 on, the change as well."""
    number, most, dearest = _SHAPES[level]
    goods = rng.sample([t for t in THINGS if t != "coins"], number)
    counts = [rng.randint(2, most) for _ in goods]
    prices = [rng.randint(2, dearest) for _ in goods]
    total = sum(c * p for c, p in zip(counts, prices, strict=True))
    person = rng.choice(PEOPLE)
    paid = (total // 100 + rng.randint(1, 2)) * 100 if level >= 3 else 0
    lines = [f"{c} {g} at {p}" for c, g, p in zip(counts, goods, prices, strict=True)]
    basket = ", ".join(lines[:-1]) + " and " + lines[-1]
    if paid:
        question = rng.choice(
            (
                f"{person} buys {basket} coins each and pays with {paid} coins. What is the change?",
                f"At the market {person} takes {basket} coins each. From {paid} coins, how much is left?",
            )
        )
    else:
        question = rng.choice(
            (
                f"{person} buys {basket} coins each. What is the total?",
                f"What do {basket} coins each cost together?",
                f"{person} pays for {basket} coins each. How many coins is that?",
            )
        )
    answer = str(paid - total if paid else total)

    def steps() -> Steps:
        result: Steps = []
        running = 0
        for index, (c, g, p) in enumerate(zip(counts, goods, prices, strict=True)):
            cost = c * p
            terse, said = f"{g}: {c} * {p} = {cost}", f"The {g} cost {c} times {p}, that is {cost}"
            if index:
                terse += f", {running} + {cost} = {running + cost}"
                said += f", and {running} plus {cost} is {running + cost}"
            running += cost
            result.append((terse, said + "."))
        if paid:
            result.append((f"{paid} - {running} = {answer}", f"{paid} minus {running} leaves {answer}."))
        return result

    return Draft(question, answer, "price each, add up", steps)
