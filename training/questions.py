"""Balanced sets of questions of one split."""

from __future__ import annotations

from random import Random

from training.settings import Settings
from training.splits import GENERATOR_SEEDS
from training.tasks import LEVELS, Problem, draw_in_split

_TRIES = 2000


def balanced(settings: Settings, split: str, count: int) -> list[Problem]:
    """Distinct questions; any prefix is spread over tasks and levels as evenly as can be."""
    rng = Random(f"questions/{GENERATOR_SEEDS[split]}")
    problems: list[Problem] = []
    seen: set[str] = set()
    while len(problems) < count:
        for turn in range(len(LEVELS)):
            for index, name in enumerate(settings.tasks):
                level = LEVELS[(turn + index) % len(LEVELS)]
                problem = _unseen(rng, name, level, split, seen)
                seen.add(problem.question)
                problems.append(problem)
    return problems[:count]


def hardest(settings: Settings, split: str, count: int) -> list[Problem]:
    """Distinct questions of the family's hard tasks; any prefix is spread evenly over tasks."""
    rng = Random(f"hard questions/{GENERATOR_SEEDS[split]}")
    problems: list[Problem] = []
    seen: set[str] = set()
    for index in range(count):
        name = list(settings.hard)[index % len(settings.hard)]
        levels = settings.hard[name]
        problem = _unseen(rng, name, levels[index // len(settings.hard) % len(levels)], split, seen)
        seen.add(problem.question)
        problems.append(problem)
    return problems


def _unseen(rng: Random, name: str, level: int, split: str, seen: set[str]) -> Problem:
    for _ in range(_TRIES):
        problem = draw_in_split(rng, name, level, split)
        if problem.question not in seen:
            return problem
    raise RuntimeError(f"task {name} has too few different questions at level {level}")
