"""The status of cells: complete (evaluated or not), stale, partial, missing or impossible."""

from __future__ import annotations

from dataclasses import dataclass

from faq_pipeline.core.cell import Cell
from faq_pipeline.planning.cell_plan import CellPlan, cell_plan, cell_plans
from faq_pipeline.planning.staleness import Freshness, State, freshness
from faq_pipeline.settings import Settings
from faq_pipeline.util.memoize import memoizing


@dataclass(frozen=True)
class CellStatus:
    """The plan of a cell with its state."""

    seen: CellPlan
    freshness: Freshness

    @property
    def cell(self) -> Cell | None:
        return self.seen.cell

    @property
    def member(self) -> str:
        """`name@rev8`, or the bare name if the weights are not available."""
        return self.seen.member

    @property
    def name(self) -> str:
        """The name of the member, without its revision."""
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
    """The status of one cell. A problem with its recipe or weights gives the state `impossible`.

    Args:
        member: `name` or `name@rev8`.
    """
    seen = cell_plan(settings, member, recipe)
    return CellStatus(seen, freshness(seen, settings.store))


def cell_statuses(settings: Settings, members: list[str] | None = None) -> list[CellStatus]:
    """The status of all cells, or those of some members, whose recipe is for the member's family.

    Raises:
        FaqError: a member is unknown.
    """
    with memoizing():
        return [CellStatus(seen, freshness(seen, settings.store)) for seen in cell_plans(settings, members)]
