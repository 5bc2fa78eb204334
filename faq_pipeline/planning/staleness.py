"""What a cell declares before anything of it is made, and whether what was made of it still holds."""

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
"""Changes that are told; of more, how many."""


class State(StrEnum):
    """How a cell stands."""

    COMPLETE = "complete"
    """All that it declares is made, here or on another device."""
    STALE = "stale"
    """It was completed, and declares something else now."""
    PARTIAL = "partial"
    """A run of it began; it was never completed."""
    MISSING = "missing"
    """No run of it began, though other cells may have made stages that it shares."""
    IMPOSSIBLE = "impossible"
    """It cannot be made as things are: no larger teacher, no weights, a broken recipe."""


@dataclass(frozen=True)
class Freshness:
    """A cell's state and why, in words; `stage` is the first one that is out of date."""

    state: State
    reason: str = ""
    stage: str | None = None


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


def cell_fingerprint(cell: Cell) -> str:
    """One key for all that the cell's stages declare: recipe, target, teacher, tools, stage versions.

    It changes when any stage would have to be made anew, and is known before any is made; nothing
    is downloaded for it.

    Raises:
        FaqError: the recipe names something unknown, or a file of it is not there.
    """
    declared = {stage.name: [stage.version, stage.identity(cell)] for stage in STAGES.values()}
    return fingerprint("cell", 1, declared, {})


def declared_keys(cell: Cell) -> dict[str, str]:
    """A key of each stage, known before anything is made: cells with the same key share the artifact.

    Raises:
        FaqError: see `cell_fingerprint`.
    """
    keys: dict[str, str] = {}
    for stage in STAGES.values():
        inputs = {name: keys[name] for name in stage.inputs_for(cell)}
        keys[stage.name] = fingerprint(stage.name, stage.version, stage.identity(cell), inputs)
    return keys


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


def freshness(seen: CellPlan, store: Store) -> Freshness:
    """How a cell stands.

    Another draw, or another device, supersedes nothing: what a cell was completed with is compared
    within its draw, and what was made on another device under the same declarations is complete.
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
