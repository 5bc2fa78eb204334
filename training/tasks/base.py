"""What a task is: a function (random source, level) -> draft; and the three styles of reasoning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from training.splits import split_of

LEVELS = (1, 2, 3, 4)
STYLES = ("equations", "sentences", "numbered")

Steps = list[tuple[str, str]]
"""One entry a step: the terse notation and the full sentence. The last step ends in the answer."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A question with its answer; the steps are only written out when a style is asked for."""

    question: str
    answer: str
    plan: str
    steps: Callable[[], Steps]


@dataclass(frozen=True, slots=True)
class Problem:
    """A question of one task and level, with its answer and its reasoning in every style."""

    task: str
    level: int
    question: str
    answer: str
    plan: str
    steps: Callable[[], Steps]

    def thought(self, style: int) -> str:
        """The chain of thought in one style (an index into STYLES)."""
        steps = self.steps()
        if style == 0:
            return "\n".join([terse for terse, _ in steps])
        if style == 1:
            return " ".join([sentence for _, sentence in steps])
        lines = [f"{index}) {terse}" for index, (terse, _) in enumerate(steps, 1)]
        return f"Plan: {self.plan}.\n" + "\n".join(lines) + f"\nResult: {self.answer}"

    @property
    def thoughts(self) -> tuple[str, ...]:
        """The chain of thought in every style."""
        return tuple(self.thought(style) for style in range(len(STYLES)))


Maker = Callable[[Random, int], Draft]
TASKS: dict[str, Maker] = {}


def task(name: str) -> Callable[[Maker], Maker]:
    """Register a maker of drafts under a task's name."""

    def register(maker: Maker) -> Maker:
        if name in TASKS:
            raise ValueError(f"task {name} is registered twice")
        TASKS[name] = maker
        return maker

    return register


def draw(rng: Random, name: str, level: int) -> Problem:
    """One problem of a task and level, of any split."""
    draft = TASKS[name](rng, level)
    return Problem(name, level, draft.question, draft.answer, draft.plan, draft.steps)


def draw_in_split(rng: Random, name: str, level: int, split: str) -> Problem:
    """One problem whose question falls into the given split."""
    while True:
        problem = draw(rng, name, level)
        if split_of(problem.question) == split:
            return problem
