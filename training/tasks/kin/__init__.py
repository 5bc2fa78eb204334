"""The tasks of kin. Importing a module registers its tasks."""

from training.tasks.kin import (  # noqa: F401
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
