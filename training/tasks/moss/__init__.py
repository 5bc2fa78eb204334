"""The tasks of moss. Importing a module registers its tasks."""

from training.tasks.moss import (  # noqa: F401
    ages,
    cipher,
    dates,
    equations,
    grid,
    numbers,
    numerals,
    sets,
    trade,
)
