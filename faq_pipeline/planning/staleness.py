"""The state of cells: complete, stale, partial, missing or impossible, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from faq_pipeline.core.cell import Cell
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.lineage.uses import read_uses
from faq_pipeline.planning.cell_status import CellPlan, cell_plan, cell_plans
from faq_pipeline.planning.completions import completions, out_of_date
from faq_pipeline.settings import Settings
from faq_pipeline.store.fingerprint import fingerprint
from faq_pipeline.store.store import Store
from faq_pipeline.util.memoize import memoizing

MOST_CHANGES = 8
"""Maximum number of changes listed in a reason; further changes are counted."""


class State(StrEnum):
    """The state of a cell."""

    COMPLETE = "complete"
    """Everything that it declares is made, on this or another device."""
    STALE = "stale"
    """It was completed, but declares something else now."""
    PARTIAL = "partial"
    """A run of it started, but it was never completed."""
    MISSING = "missing"
    """No run of it started, though other cells may have made stages that it shares."""
    IMPOSSIBLE = "impossible"
    """It cannot be made now: no larger teacher, no weights, or a broken recipe."""


@dataclass(frozen=True)
class Freshness:
    """A cell's state and the reason; `stage` is the first stage that is out of date or missing."""

    state: State
    reason: str = ""
    stage: str | None = None


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


def cell_fingerprint(cell: Cell) -> str:
    """One key for everything that the cell's stages declare: recipe, target, teacher, tools, versions.

    It changes if any stage would have to be made again. It is known before anything is made, and
    computing it downloads nothing.

    Raises:
        FaqError: the recipe names something unknown, or one of its files does not exist.
    """
    declared = {stage.name: [stage.version, stage.identity(cell)] for stage in STAGES.values()}
    return fingerprint("cell", 1, declared, {})


def declared_keys(cell: Cell) -> dict[str, str]:
    """A key for each stage, known before anything is made. Cells with equal keys share the artifact.

    Raises:
        FaqError: see `cell_fingerprint`.
    """
    keys: dict[str, str] = {}
    for stage in STAGES.values():
        inputs = {name: keys[name] for name in stage.inputs_for(cell)}
        keys[stage.name] = fingerprint(stage.name, stage.version, stage.identity(cell), inputs)
    return keys


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


def freshness(seen: CellPlan, store: Store) -> Freshness:
    """The state of a cell.

    A completion with another draw does not count. A completion on another device with the same
    declarations makes the cell complete.
    """
    if seen.cell is None:
        return Freshness(State.IMPOSSIBLE, seen.problem or "")
    if seen.complete:
        return Freshness(State.COMPLETE)
    uses = [use for use in read_uses(store, seen.partition) if use.is_of(seen.cell.recipe.draw)]
    newest: dict[str, list[str]] = {}
    for completion in completions(uses, store):
        changed = out_of_date(seen.cell, completion)
        if not changed:
            return Freshness(State.COMPLETE, f"made with another machine ({completion.setting})")
        newest = newest or changed
    if newest:
        return Freshness(State.STALE, _in_words(newest), next(iter(newest)))
    waiting = next(name for name, planned in seen.planned.items() if planned.artifact is None)
    made = f"{seen.made} of {len(STAGES)} stages are made"
    if uses:
        return Freshness(State.PARTIAL, f"never completed, {made}", waiting)
    never = f"never made, {made} for other cells" if seen.made else "never made"
    return Freshness(State.MISSING, never, waiting)


def _in_words(found: Mapping[str, list[str]]) -> str:
    left, parts = MOST_CHANGES, []
    for stage, texts in found.items():
        if texts[:left]:
            parts.append(f"{stage}: {', '.join(texts[:left])}")
        left = max(0, left - len(texts))
    more = sum(map(len, found.values())) - MOST_CHANGES
    return "; ".join(parts) + (f", and {more} more" if more > 0 else "")
