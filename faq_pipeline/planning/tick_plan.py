"""What one tick of a family's schedule asks for: stale and missing cells, the most valuable first.

Value. First a cell of each member that nobody can use yet, because none of the family's recipes was
ever completed for it; then what is missing; then what is stale. Among equals the larger member comes
first, then the recipe that the family names first.

Cost. GPU-hours of the stages that are not made and load a model, by past runs; a stage that several
cells share is counted once. A cell that does not fit into what is left waits, and cheaper ones after
it are still taken. Of cells whose cost is not known one is tried a tick, for its run tells the cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from faq_pipeline.config.family import Family
from faq_pipeline.config.operation import Requantize
from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.execution.cost import PastRuns
from faq_pipeline.planning.staleness import CellStatus, State, cell_status, declared_keys
from faq_pipeline.settings import Settings
from faq_pipeline.util.memoize import memoizing

HOUR = 3600

Asked = Callable[[Sequence[Cell]], Mapping[str, str]]
"""Of some cells those that have been asked for as they are declared now: by partition, how that stands."""


class Value(IntEnum):
    """Why a cell comes when it does: lower comes first."""

    RELEASE = 0
    MISSING = 1
    STALE = 2


@dataclass(frozen=True)
class Choice:
    """A cell that could be asked for.

    Attributes:
        gpu_hours: what it adds to the tick, as far as that is known.
        known: whether all of its cost is.
        waits: why it is not asked for now; empty where it is.
    """

    judged: CellStatus
    value: Value
    gpu_hours: float = 0.0
    known: bool = True
    waits: str = ""


@dataclass(frozen=True)
class TickPlan:
    """What a tick asks for, what waits and why.

    Attributes:
        budget: GPU-hours that a tick may ask for.
        choices: stale and missing cells, the most valuable first.
        impossible: cells that cannot be made.
        fresh: number of complete cells.
    """

    family: Family
    budget: float
    choices: tuple[Choice, ...]
    impossible: tuple[CellStatus, ...]
    fresh: int

    @property
    def chosen(self) -> list[Choice]:
        """What is asked for."""
        return [choice for choice in self.choices if not choice.waits]

    @property
    def waiting(self) -> list[tuple[str, str]]:
        """The cells that are not asked for though they are not fresh, each with the reason."""
        waits = [(choice.judged.partition, choice.waits) for choice in self.choices if choice.waits]
        return waits + [(judged.partition, judged.reason) for judged in self.impossible]

    @property
    def gpu_hours(self) -> float:
        """The known cost of what is asked for."""
        return sum(choice.gpu_hours for choice in self.chosen)


def plan_tick(settings: Settings, family: Family, asked: Asked) -> TickPlan:
    """What the next tick of the family's schedule asks for.

    Args:
        family: with `requantize`.
        asked: what runs there have been.
    """
    wanted = family.requantize
    assert wanted is not None
    with memoizing():
        cells = [cell_status(settings, m.name, recipe) for m in family.members for recipe in wanted.recipes]
        choices = _by_value(family, wanted, cells)
        standing = asked([c.judged.cell for c in choices if c.judged.cell is not None])
        budget = _Budget(family.name, wanted.max_gpu_hours, PastRuns(settings.store))
        decided = [
            Choice(c.judged, c.value, waits=told)
            if (told := standing.get(c.judged.partition))
            else budget.decide(c)
            for c in choices
        ]
    return TickPlan(
        family,
        wanted.max_gpu_hours,
        tuple(decided),
        tuple(one for one in cells if one.state is State.IMPOSSIBLE),
        sum(one.state is State.COMPLETE for one in cells),
    )


def _by_value(family: Family, wanted: Requantize, cells: Iterable[CellStatus]) -> list[Choice]:
    """The cells that are not fresh and can be made, in order of value."""
    cells = list(cells)
    usable = {one.member for one in cells if one.state in (State.COMPLETE, State.STALE)}
    size = {member.name: member.parameters for member in family.members}
    place = {name: number for number, name in enumerate(wanted.recipes)}
    choices = []
    for one in cells:  # a member's recipes come in the family's order
        if one.state not in (State.STALE, State.PARTIAL, State.MISSING):
            continue
        value = Value.STALE if one.state is State.STALE else Value.MISSING
        if one.member not in usable:
            usable.add(one.member)  # one checkpoint of it will do for a start
            value = Value.RELEASE
        choices.append(Choice(one, value))
    return sorted(
        choices,
        key=lambda c: (c.value, -size[c.judged.name], place[c.judged.recipe], c.judged.partition),
    )


@dataclass
class _Budget:
    """What is left of a tick's GPU-hours as cells are taken one by one."""

    family: str
    hours: float
    past: PastRuns
    taken: float = 0.0
    made: set[str] = field(default_factory=set)
    tried: str = ""

    def decide(self, choice: Choice) -> Choice:
        """Take a cell, or say why it waits."""
        judged = choice.judged
        try:
            hours, known, keys = self._cost(judged)
        except FaqError as error:
            return Choice(judged, choice.value, waits=str(error))
        waits = self._waits(hours, known)
        if not waits:
            self.taken += hours
            self.made |= keys
            self.tried = self.tried if known else judged.partition
        return Choice(judged, choice.value, hours, known, waits)

    def _cost(self, judged: CellStatus) -> tuple[float, bool, set[str]]:
        """GPU-hours that are known, whether these are all, and keys of the stages that are made for it."""
        cell = judged.cell
        assert cell is not None
        seconds, known, keys = 0.0, True, set()
        for name, key in declared_keys(cell).items():
            planned = judged.seen.planned[name]
            if planned.artifact is not None or key in self.made:
                continue
            keys.add(key)
            cost = self.past.estimate(planned.stage, cell)
            if cost.gpus:
                known = known and cost.seconds is not None
                seconds += (cost.seconds or 0.0) * cost.gpus
        return seconds / HOUR, known, keys

    def _waits(self, hours: float, known: bool) -> str:
        left = self.hours - self.taken
        needs = f"{hours:.2g} GPU-hours" if known else f"more than {hours:.2g} GPU-hours"
        if hours > self.hours:
            return (
                f"needs {needs}, and a tick may ask for {self.hours:g}: raise requantize.max_gpu_hours"
                f" of family {self.family}, or run it by hand"
            )
        if hours > left or (not known and left <= 0):
            return f"needs {needs}, and {left:.2g} of {self.hours:g} are left to this tick"
        if not known and self.tried:
            return f"its cost is not known, and one such cell is tried a tick: now {self.tried}"
        return ""
