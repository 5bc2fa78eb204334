"""The matrix of members x recipes as it stands: which cells exist and what is made of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from faq_pipeline.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.resolve import resolve_cell
from faq_pipeline.runner import Planned, plan
from faq_pipeline.settings import Settings
from faq_pipeline.stages import STAGES


@dataclass(frozen=True)
class CellState:
    """One cell: its plan, or why it cannot be."""

    member: str
    recipe: str
    cell: Cell | None
    planned: dict[str, Planned]
    problem: str | None

    @property
    def made(self) -> int:
        """Stages whose artifact is there."""
        return sum(p.artifact is not None for p in self.planned.values())

    @property
    def complete(self) -> bool:
        return self.cell is not None and self.made == len(STAGES)


def cell_states(
    settings: Settings, members: list[str] | None = None, recipes: list[str] | None = None
) -> Iterator[CellState]:
    """All cells whose recipe is for the member's family, or those named.

    Raises:
        FaqError: an unknown name.
    """
    catalog = settings.catalog
    everyone = [m.name for family in catalog.families.values() for m in family.members]
    for name in members or everyone:
        family, _ = catalog.member(name.partition("@")[0])
        for recipe_name in recipes or catalog.recipes:
            recipe = catalog.recipe(recipe_name)
            if family.name not in recipe.families:
                continue
            try:
                cell = resolve_cell(catalog, name, recipe, settings.device, settings.digests)
                planned = plan(cell, STAGES, settings.store)
            except FaqError as error:
                yield CellState(name, recipe_name, None, {}, str(error))
                continue
            yield CellState(cell.target.partition, recipe_name, cell, planned, None)
