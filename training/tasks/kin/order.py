"""Transitive ordering: join comparisons into one chain."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from training.tasks.base import Draft, Steps, task
from training.tasks.kin.words import PEOPLE

SCALES = (
    ("taller", "shorter", "tallest", "shortest"),
    ("older", "younger", "oldest", "youngest"),
    ("faster", "slower", "fastest", "slowest"),
    ("richer", "poorer", "richest", "poorest"),
)
_PEOPLE = {1: 3, 2: 4, 3: 5, 4: 6}


def join(facts: list[tuple[str, str]]) -> list[tuple[tuple[str, str], list[str]]]:
    """Add facts to a chain, always the first that fits at an end; the chain after each."""
    left = list(facts)
    chain = list(left.pop(0))
    history = [((chain[0], chain[1]), list(chain))]
    while left:
        fact = next(f for f in left if f[0] == chain[-1] or f[1] == chain[0])
        left.remove(fact)
        chain = [*chain, fact[1]] if fact[0] == chain[-1] else [fact[0], *chain]
        history.append((fact, list(chain)))
    return history


@task("order")
def order(rng: Random, level: int) -> Draft:
    """Who comes first, last or second when neighbours are compared in mixed order."""
    more, less, most, least = rng.choice(SCALES)
    line = rng.sample(PEOPLE, _PEOPLE[level])
    facts = list(pairwise(line))
    rng.shuffle(facts)
    said = [
        f"{a} is {more} than {b}." if level == 1 or rng.random() < 0.6 else f"{b} is {less} than {a}."
        for a, b in facts
    ]
    asked = rng.choice((most, least) if level < 3 else (most, least, f"second {most}"))
    answer = {most: line[0], least: line[-1]}.get(asked, line[1])
    question = " ".join(said) + rng.choice((f" Who is the {asked}?", f" Name the {asked} of them."))

    def steps() -> Steps:
        terse = ", ".join(f"{a} > {b}" for a, b in facts)
        spoken = ", ".join(f"{a} before {b}" for a, b in facts)
        result: Steps = [(terse, f"By {more}: {spoken}.")]
        for fact, chain in join(facts)[1:]:
            result.append(
                (
                    f"{fact[0]} > {fact[1]}: {' > '.join(chain)}",
                    f"Join {fact[0]} and {fact[1]} to get {', '.join(chain)}.",
                )
            )
        result.append((f"{asked}: {answer}", f"The {asked} is {answer}."))
        return result

    return Draft(question, answer, "write pairs, join them", steps)
