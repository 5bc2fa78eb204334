"""Lists compared word by word: what is in both, in one only, in either but not both, in all three."""

from __future__ import annotations

from random import Random

from training.tasks.base import Draft, Steps, task
from training.tasks.moss.words import GOODS, NAMES


def _look(words: list[str], other: list[str], name: str, wanted: bool) -> tuple[list[str], tuple[str, str]]:
    """What is kept of the words, and the step that looks each up in the other list."""
    terse = ", ".join(f"{word} {'yes' if word in other else 'no'}" for word in words)
    said = ", ".join(f"{word} {'is' if word in other else 'is not'}" for word in words)
    kept = [word for word in words if (word in other) == wanted]
    return kept, (f"in {name}: {terse}", f"In the list of {name} {said}.")


def _lists(rng: Random, size: int, shared: int) -> tuple[list[str], list[str]]:
    """Two lists in any order with so many words in common."""
    drawn = rng.sample(GOODS, 2 * size - shared)
    one, two = drawn[:size], drawn[size - shared :]
    rng.shuffle(one)
    rng.shuffle(two)
    return one, two


@task("sets")
def sets(rng: Random, level: int) -> Draft:
    """What two lists share, what only one has, or (level 4) what three share."""
    if level == 4:
        return _three(rng)
    a, b = rng.sample(NAMES, 2)
    size = 3 if level == 1 else 4
    one, two = _lists(rng, size, rng.randint(1, 2))
    given = f"{a} has {', '.join(one)}. {b} has {', '.join(two)}."
    if level == 3:
        left, first = _look(one, two, b, wanted=False)
        right, second = _look(two, one, a, wanted=False)
        question = f"{given} Which things does only one of them have? First those of {a}, then those of {b}."
        return _draft(question, left + right, "look up both ways", "one", [first, second])
    kept, look = _look(one, two, b, wanted=level == 1)
    if level == 1:
        question = f"{given} Which things do both have, as {a} lists them?"
        return _draft(question, kept, "look up each", "both", [look])
    return _draft(f"{given} Which things of {a} does {b} not have?", kept, "look up each", "rest", [look])


def _three(rng: Random) -> Draft:
    """Three lists with one or two words in all of them."""
    a, b, c = rng.sample(NAMES, 3)
    one, two = _lists(rng, 5, 3)
    shared = [word for word in one if word in two]
    others = [word for word in GOODS if word not in shared]
    number = rng.randint(1, 2)
    three = rng.sample(shared, number) + rng.sample(others, 4 - number)
    rng.shuffle(three)
    both, first = _look(one, two, b, wanted=True)
    kept, second = _look(both, three, c, wanted=True)
    given = f"{a} has {', '.join(one)}. {b} has {', '.join(two)}. {c} has {', '.join(three)}."
    question = f"{given} Which things do all three have, as {a} lists them?"
    return _draft(question, kept, "look up twice", "all", [first, second])


def _draft(question: str, kept: list[str], plan: str, name: str, looks: Steps) -> Draft:
    """What is left of the lists is the answer."""
    listed = ", ".join(kept)
    return Draft(question, listed, plan, lambda: [*looks, (f"{name}: {listed}", f"That leaves {listed}.")])
