"""Cells with how they stand: complete, out of date, begun, or not to be made as things are."""

from __future__ import annotations

from dataclasses import dataclass

from faq_pipeline.core.cell import Cell
from faq_pipeline.planning.cell_plan import CellPlan, cell_plan, cell_plans
from faq_pipeline.planning.staleness import Freshness, State, freshness
from faq_pipeline.settings import Settings
from faq_pipeline.util.memoize import memoizing


@dataclass(frozen=True)
class CellStatus:
    """A cell with how it stands."""

    seen: CellPlan
    freshness: Freshness

    @property
    def cell(self) -> Cell | None:
        return self.seen.cell

    @property
    def member(self) -> str:
        """`name@rev8`; the bare name where the weights are not here."""
        return self.seen.member

    @property
    def name(self) -> str:
        """The member's, without its revision."""
        return self.member.partition("@")[0]

    @property
    def recipe(self) -> str:
        return self.seen.recipe

    @property
    def partition(self) -> str:
        return self.seen.partition

    @property
    def state(self) -> State:
        return self.freshness.state

    @property
    def reason(self) -> str:
        return self.freshness.reason


def cell_status(settings: Settings, member: str, recipe: str) -> CellStatus:
    """Look at one cell (`name` or `name@rev8`), however its recipe or its weights may be."""
    seen = cell_plan(settings, member, recipe)
    return CellStatus(seen, freshness(seen, settings.store))


def cell_statuses(settings: Settings, members: list[str] | None = None) -> list[CellStatus]:
    """All cells (of some members) whose recipe is for the member's family.

    Raises:
        FaqError: an unknown member.
    """
    with memoizing():
        return [CellStatus(seen, freshness(seen, settings.store)) for seen in cell_plans(settings, members)]
