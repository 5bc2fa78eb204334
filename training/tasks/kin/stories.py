"""Word problems: one amount that several events change."""

from __future__ import annotations

from random import Random

from training.tasks.base import Draft, Steps, task
from training.tasks.kin.words import PEOPLE, THINGS

_EVENTS = {1: 2, 2: 3, 3: 4, 4: 5}
_START = {1: (5, 40), 2: (12, 80), 3: (20, 90), 4: (120, 600)}
_GAIN = ("finds {k} more", "buys {k} more", "gets {k} from {q}", "picks up {k}")
_LOSE = ("gives {k} to {q}", "loses {k}", "sells {k}", "puts {k} away")


def _event(rng: Random, level: int, now: int) -> tuple[str, int, str]:
    """What happens to the amount: operator, operand, text."""
    roll = rng.random()
    if level >= 3 and roll < 0.2 and now <= 400:
        factor = rng.randint(2, 3 if now > 100 else 5)
        said = "doubles the pile" if factor == 2 else f"makes the pile {factor} times as large"
        return "*", factor, said
    if level >= 2 and roll < 0.4:
        for divisor in rng.sample((2, 3, 4, 5), 4):
            if now % divisor == 0 and now > 2 * divisor:
                return "/", divisor, f"splits them into {divisor} equal parts and keeps one part"
    most = (9, 40, 70, 400)[level - 1]
    if roll < 0.7 or now < 8:
        k = rng.randint(2, most)
        return "+", k, rng.choice(_GAIN).format(k=k, q=rng.choice(PEOPLE))
    k = rng.randint(2, min(most, now - 1))
    return "-", k, rng.choice(_LOSE).format(k=k, q=rng.choice(PEOPLE))


_WORDS = {"+": "plus", "-": "minus", "*": "times", "/": "divided by"}


@task("story")
def story(rng: Random, level: int) -> Draft:
    """How many things someone has after a number of events."""
    person, thing = rng.choice(PEOPLE), rng.choice(THINGS)
    start = now = rng.randint(*_START[level])
    parts: list[str] = []
    trail: list[tuple[int, str, int, int]] = []
    for _ in range(_EVENTS[level]):
        sign, operand, said = _event(rng, level, now)
        then = {"+": now + operand, "-": now - operand, "*": now * operand}.get(sign)
        if then is None:
            then = now // operand
        trail.append((now, sign, operand, then))
        parts.append(said)
        now = then
    events = ". ".join(
        f"{rng.choice(('Then', 'Next', 'Later', 'After that'))} {person} {said}" if i else f"{person} {said}"
        for i, said in enumerate(parts)
    )
    question = rng.choice(
        (
            f"{person} has {start} {thing}. {events}. How many {thing} does {person} have now?",
            f"{person} starts with {start} {thing}. {events}. How many {thing} are there in the end?",
            f"There are {start} {thing} in {person}'s basket. {events}."
            f" How many {thing} does {person} have at last?",
        )
    )

    def steps() -> Steps:
        return [(f"{a} {s} {b} = {c}", f"{a} {_WORDS[s]} {b} is {c}.") for a, s, b, c in trail]

    return Draft(question, str(now), "follow each event", steps)
