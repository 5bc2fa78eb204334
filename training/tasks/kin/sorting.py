"""Sorting numbers by insertion, one number a step."""

from __future__ import annotations

from random import Random

from training.tasks.base import Draft, Steps, task

_SHAPES = {1: (3, 4, 10, 99), 2: (5, 5, 10, 99), 3: (6, 7, 10, 99), 4: (6, 7, 100, 999)}
_ASK = (
    "Sort from {a} to {b}: {n}",
    "Put these numbers in order from {a} to {b}: {n}",
    "Arrange {n} from {a} to {b}.",
)


@task("sort")
def sort(rng: Random, level: int) -> Draft:
    """Three to seven distinct numbers in rising or falling order."""
    fewest, most, low, high = _SHAPES[level]
    numbers = rng.sample(range(low, high + 1), rng.randint(fewest, most))
    falling = rng.random() < 0.5
    ends = ("largest", "smallest") if falling else ("smallest", "largest")
    question = rng.choice(_ASK).format(a=ends[0], b=ends[1], n=" ".join(map(str, numbers)))
    answer = " ".join(map(str, sorted(numbers, reverse=falling)))

    def steps() -> Steps:
        result: Steps = []
        for index, number in enumerate(numbers[1:], 1):
            done = sorted(numbers[: index + 1], reverse=falling)
            shown = " ".join(map(str, done))
            place = done.index(number)
            where = f"before {done[place + 1]}" if place + 1 < len(done) else f"after {done[place - 1]}"
            result.append((f"{number} {where}: {shown}", f"{number} goes {where}, giving {shown}."))
        return result

    return Draft(question, answer, "insert one by one", steps)
