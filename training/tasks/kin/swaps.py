"""Tracking objects through swaps: the whole state is written after each swap."""

from __future__ import annotations

from random import Random

from training.tasks.base import Draft, Steps, task
from training.tasks.kin.words import COLOURS, PEOPLE

_SHAPES = {1: (3, 2), 2: (3, 3), 3: (4, 4), 4: (5, 5)}


@task("swap")
def swap(rng: Random, level: int) -> Draft:
    """Who holds which ball, or which ball someone holds, after some swaps."""
    people_count, swap_count = _SHAPES[level]
    people = rng.sample(PEOPLE, people_count)
    colours = rng.sample(COLOURS, people_count)
    swaps = [rng.sample(people, 2) for _ in range(swap_count)]
    state = dict(zip(people, colours, strict=True))
    for a, b in swaps:
        state[a], state[b] = state[b], state[a]
    given = ", ".join(f"{p} has {c}" for p, c in zip(people, colours, strict=True))
    exchanges = " ".join(f"{i}) {a} and {b} swap." for i, (a, b) in enumerate(swaps, 1))
    person = rng.choice(people)
    if rng.random() < 0.6:
        asked, answer = f"Which ball does {person} have at the end?", state[person]
        last = (f"{person}: {answer}", f"At the end {person} has {answer}.")
    else:
        colour = state[person]
        asked, answer = f"Who has the {colour} ball at the end?", person
        last = (f"{colour}: {answer}", f"At the end {colour} is with {answer}.")
    question = rng.choice(("Balls: {g}. {t} {q}", "Each holds a ball. {g}. {t} {q}")).format(
        g=given, t=exchanges, q=asked
    )

    def steps() -> Steps:
        result: Steps = []
        now = dict(zip(people, colours, strict=True))
        for a, b in swaps:
            before = f"{a} {now[a]}, {b} {now[b]}"
            said = f"{a} gives {now[a]} to {b} for {now[b]}"
            now[a], now[b] = now[b], now[a]
            after = ", ".join(f"{p} {c}" for p, c in now.items())
            result.append((f"{before}: {after}", f"{said}, so now {after}."))
        return [*result, last]

    return Draft(question, answer, "swap, then write all", steps)
