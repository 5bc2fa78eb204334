"""Verifiable multi-step tasks: a registry of generators by name; families choose among them."""

from training.tasks import kin, moss  # noqa: F401  (importing a module registers its tasks)
from training.tasks.base import LEVELS, STYLES, TASKS, Draft, Problem, draw, draw_in_split

__all__ = ["LEVELS", "STYLES", "TASKS", "Draft", "Problem", "draw", "draw_in_split"]
