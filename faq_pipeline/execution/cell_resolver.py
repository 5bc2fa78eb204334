"""Resolves each cell once: one object for all stages of a run, which then compute an identity once."""

from __future__ import annotations

from faq_pipeline.core.cell import Cell
from faq_pipeline.core.resolver import resolve_cell
from faq_pipeline.settings import Settings


class CellResolver:
    """The cells of one run, as families, recipes and weights were when each was first asked for."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._cells: dict[tuple[str, str], Cell] = {}

    def cell(self, member: str, recipe: str) -> Cell:
        """The cell of a member (`name` or `name@rev8`) and a recipe.

        Raises:
            FaqError: as `resolve_cell`.
        """
        if (member, recipe) not in self._cells:
            settings, catalog = self.settings, self.settings.catalog
            cell = resolve_cell(catalog, member, catalog.recipe(recipe), settings.device, settings.digests)
            self._cells[member, recipe] = self._cells[cell.target.partition, recipe] = cell
        return self._cells[member, recipe]
