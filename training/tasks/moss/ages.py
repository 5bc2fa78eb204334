"""Age puzzles: one age is given, and each of the others in terms of one before."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from training.tasks.base import Draft, Steps, task
from training.tasks.moss.words import NAMES


def _relation(rng: Random, name: str, other: str, age: int, hard: bool) -> tuple[str, int, str, str]:
    """A person's age from another's: what is told, the age, and the step in both wordings."""
    kind = rng.random()
    if hard and kind < 0.2 and age <= 25:
        relation = f"{name} is twice as old as {other}"
        return relation, 2 * age, f"{age} * 2 = {2 * age}", f"twice {age} is {2 * age}"
    if hard and kind < 0.4 and age % 2 == 0 and age >= 10:
        relation = f"{name} is half as old as {other}"
        return relation, age // 2, f"{age} / 2 = {age // 2}", f"half of {age} is {age // 2}"
    years = rng.randint(2, 9)
    if kind < 0.7 or age - years < 2:
        relation = f"{name} is {years} years older than {other}"
        return (
            relation,
            age + years,
            f"{age} + {years} = {age + years}",
            f"{age} plus {years} is {age + years}",
        )
    relation = f"{name} is {years} years younger than {other}"
    return relation, age - years, f"{age} - {years} = {age - years}", f"{age} minus {years} is {age - years}"


@task("ages")
def ages(rng: Random, level: int) -> Draft:
    """The last of two to five ages, told in order or (level 4) mixed; from level 3 in some years."""
    people = rng.sample(NAMES, {1: 2, 2: 3, 3: 3, 4: 4}[level])
    age = rng.randint(5, 30)
    relations: list[str] = []
    steps: Steps = []
    first = f"{people[0]} is {age}"
    for other, name in pairwise(people):
        said, age, terse, sentence = _relation(rng, name, other, age, hard=level > 1)
        relations.append(said)
        steps.append((f"{name}: {terse}", f"{name}: {sentence}."))
    last = people[-1]
    asked = f"How old is {last}?"
    if level >= 3:
        years = rng.randint(2, 12)
        asked = f"How old will {last} be in {years} years?"
        then = age + years
        steps.append((f"later: {age} + {years} = {then}", f"In {years} years {last} will be {then}."))
        age = then
    if level == 4:
        relations.append(first)
        rng.shuffle(relations)
        question = ". ".join(relations) + f". {asked}"
    else:
        question = ". ".join([first, *relations]) + f". {asked}"
    return Draft(question, str(age), "from one to the next", lambda: steps)
