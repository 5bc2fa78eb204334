"""Choose the cells of a backfill: the named ones, or all that can be made."""

from __future__ import annotations

from dataclasses import dataclass

from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.execution.preflight import check
from faq_pipeline.planning.cell_plan import CellPlan, cell_plans
from faq_pipeline.settings import Settings

ALL = "all"


@dataclass(frozen=True)
class BackfillSelection:
    """The cells to make, and those that cannot be made as (key, reason)."""

    cells: list[Cell]
    left_out: list[tuple[str, str]]


def choose(settings: Settings, members: str, recipes: str) -> BackfillSelection:
    """The cells of members x recipes; each argument is a comma-separated list of names, or `all`.

    A member and a recipe for another family form no cell. Any other cell that cannot be made is left
    out if either argument is `all`; if both list names, it is an error.

    Raises:
        FaqError: a name is unknown or has no cell, or a named cell cannot be made.
    """
    named_members, named_recipes = _names(members), _names(recipes)
    states = list(cell_plans(settings, named_members, named_recipes))
    _check_each_has_a_cell(named_members, named_recipes, states)
    cells: dict[str, Cell] = {}
    left_out = []
    for state in states:
        problem = state.problem or _problem(settings, state.cell)
        if problem is None and state.cell is not None:
            cells[state.cell.partition] = state.cell  # the same member may be listed with and without @rev8
        else:
            left_out.append((f"{state.member}|{state.recipe}", problem or ""))
    if left_out and ((named_members and named_recipes) or not cells):
        key, problem = left_out[0]
        raise FaqError(f"{key}: {problem}", hint="remove that cell from the lists")
    return BackfillSelection(list(cells.values()), left_out)


def _names(text: str) -> list[str] | None:
    """The distinct names, in order; None for `all`."""
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise FaqError("empty list of names", hint="--members a,b --recipes c,d, or all")
    if ALL in names and len(names) > 1:
        raise FaqError(f"{ALL!r} cannot be combined with names", hint=f"give {ALL}, or names")
    return None if names == [ALL] else names


def _check_each_has_a_cell(
    members: list[str] | None, recipes: list[str] | None, states: list[CellPlan]
) -> None:
    seen = {state.member.partition("@")[0] for state in states}
    for name in members or []:
        if name.partition("@")[0] not in seen:
            raise FaqError(f"none of these recipes is for the family of {name!r}", hint="see: faq recipes")
    for name in recipes or []:
        if name not in {state.recipe for state in states}:
            raise FaqError(
                f"recipe {name!r} is not for the family of any of these members", hint="see: faq recipes"
            )


def _problem(settings: Settings, cell: Cell | None) -> str | None:
    """The first problem that can be found without loading a model; None if there is none."""
    if cell is None:
        return None
    try:
        check(cell, settings.catalog, settings.store)
    except FaqError as error:
        return str(error)
    return None
