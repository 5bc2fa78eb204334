"""Plan one tick of a family's schedule: it requests stale and missing cells, the most valuable first.

Value. First comes one cell of each member for which none of the family's recipes was ever completed,
since nobody can use that member yet. Then come missing cells, then stale cells. Among equals, the larger
member comes first, then the recipe that the family lists first.

Cost. The GPU-hours of the stages that are not made and load a model, estimated from past runs. A stage
that several cells share counts once. A cell that exceeds the remaining budget waits, but cheaper cells
after it are still taken. Each tick tries at most one cell of unknown cost; its run reveals the cost.
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
from faq_pipeline.planning.cell_plan import declared_keys
from faq_pipeline.planning.cell_status import CellStatus, cell_status
from faq_pipeline.planning.staleness import State
from faq_pipeline.settings import Settings
from faq_pipeline.util.memoize import memoizing

HOUR = 3600

Asked = Callable[[Sequence[Cell]], Mapping[str, str]]
"""Returns which of the cells were already requested as declared now, each with the state of its runs."""


class Value(IntEnum):
    """The priority of a cell; lower values come first."""

    RELEASE = 0
    MISSING = 1
    STALE = 2


@dataclass(frozen=True)
class Choice:
    """A cell that the tick could request.

    Attributes:
        gpu_hours: the known part of the cost that it adds to the tick.
        known: whether its whole cost is known.
        waits: why it is not requested now; empty if it is.
    """

    judged: CellStatus
    value: Value
    gpu_hours: float = 0.0
    known: bool = True
    waits: str = ""


@dataclass(frozen=True)
class TickPlan:
    """The cells that a tick requests, and the cells that wait with their reasons.

    Attributes:
        budget: maximum number of GPU-hours that a tick may request.
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
        """The requested cells."""
        return [choice for choice in self.choices if not choice.waits]

    @property
    def waiting(self) -> list[tuple[str, str]]:
        """The cells that are not complete and not requested, each with the reason."""
        waits = [(choice.judged.partition, choice.waits) for choice in self.choices if choice.waits]
        return waits + [(judged.partition, judged.reason) for judged in self.impossible]

    @property
    def gpu_hours(self) -> float:
        """The known cost of the requested cells."""
        return sum(choice.gpu_hours for choice in self.chosen)


def plan_tick(settings: Settings, family: Family, asked: Asked) -> TickPlan:
    """Plan the next tick of a family's schedule.

    Args:
        family: a family with `requantize`.
        asked: finds cells that were requested before.
    """
    wanted = family.requantize
    assert wanted is not None
    with memoizing():
        cells = [cell_status(settings, m.name, recipe) for m in family.members for recipe in wanted.recipes]
        choices = _by_value(family, wanted, cells)
        standing = asked([c.judged.cell for c in choices if c.judged.cell is not None])
        budget = _Budget(family.name, wanted.max_gpu_hours, PastRuns(settings.store))
        decided = [
            Choice(c.judged, c.value, waits=reason)
            if (reason := standing.get(c.judged.partition))
            else budget.decide(c)
            for c in choices
        ]
    return TickPlan(
        family,
        wanted.max_gpu_hours,
        tuple(decided),
        tuple(cell for cell in cells if cell.state is State.IMPOSSIBLE),
        sum(cell.state is State.COMPLETE for cell in cells),
    )


def _by_value(family: Family, wanted: Requantize, cells: Iterable[CellStatus]) -> list[Choice]:
    """The cells that are not complete and can be made, in order of value."""
    cells = list(cells)
    usable = {cell.member for cell in cells if cell.state in (State.COMPLETE, State.STALE)}
    size = {member.name: member.parameters for member in family.members}
    place = {name: number for number, name in enumerate(wanted.recipes)}
    choices = []
    for cell in cells:  # the recipes of a member are in the family's order
        if cell.state in (State.COMPLETE, State.IMPOSSIBLE):
            continue
        value = Value.STALE if cell.state is State.STALE else Value.MISSING
        if cell.member not in usable:
            usable.add(cell.member)  # only the first cell of a member gets this priority
            value = Value.RELEASE
        choices.append(Choice(cell, value))
    return sorted(
        choices,
        key=lambda c: (c.value, -size[c.judged.name], place[c.judged.recipe], c.judged.partition),
    )


@dataclass
class _Budget:
    """The GPU-hours of a tick, which are spent as cells are taken one by one."""

    family: str
    hours: float
    past: PastRuns
    taken: float = 0.0
    made: set[str] = field(default_factory=set)
    tried: str = ""

    def decide(self, choice: Choice) -> Choice:
        """Take a cell, or give the reason why it waits."""
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
        """The known GPU-hours, whether they are the whole cost, and the keys of the stages to make."""
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
                f"needs {needs}, but a tick may request only {self.hours:g}: raise requantize.max_gpu_hours"
                f" of family {self.family}, or run it by hand"
            )
        if hours > left or (not known and left <= 0):
            return f"needs {needs}, but this tick has only {left:.2g} of {self.hours:g} left"
        if not known and self.tried:
            return f"its cost is unknown, and each tick tries one such cell: now {self.tried}"
        return ""
