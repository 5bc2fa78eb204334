"""Verifiable multi-step tasks: a registry of generators by name."""

from training.tasks import (  # noqa: F401  (importing a module registers its tasks)
    arithmetic,
    calendar,
    letters,
    logic,
    measures,
    money,
    order,
    sorting,
    stories,
    swaps,
    tables,
)
from training.tasks.base import (
    LEVELS,
    STYLES,
    TASKS,
    Draft,
    Problem,
    draw,
    draw_in_split,
    names,
)

__all__ = [
    "LEVELS",
    "STYLES",
    "TASKS",
    "Draft",
    "Problem",
    "draw",
    "draw_in_split",
    "names",
]
