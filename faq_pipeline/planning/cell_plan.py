"""The plan of every cell of members x recipes: whether it can be made, and which stages are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from faq_pipeline.config.catalog import Catalog
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.resolver import resolve_cell
from faq_pipeline.core.stage import Stage
from faq_pipeline.errors import FaqError
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.execution.runner import PlannedStage, plan
from faq_pipeline.models.weights import find_weights
from faq_pipeline.settings import Settings
from faq_pipeline.store.fingerprint import fingerprint
from faq_pipeline.util.memoize import memoizing


@dataclass(frozen=True)
class CellPlan:
    """The plan of one cell, or the problem that prevents it.

    Attributes:
        cell: None if it cannot be resolved.
        planned: the planned stages by name; empty without a cell.
        problem: why the cell cannot be made; None if it can.
    """

    member: str
    recipe: str
    cell: Cell | None
    planned: dict[str, PlannedStage]
    problem: str | None

    @property
    def partition(self) -> str:
        """`name@rev8|recipe`, without the revision if the weights are not available."""
        return f"{self.member}|{self.recipe}"

    @property
    def made(self) -> int:
        """Number of stages whose artifact exists."""
        return sum(p.artifact is not None for p in self.planned.values())

    @property
    def complete(self) -> bool:
        return self.cell is not None and self.made == len(STAGES)


def cell_plans(
    settings: Settings, members: list[str] | None = None, recipes: list[str] | None = None
) -> list[CellPlan]:
    """The plans of the cells of members x recipes whose recipe is for the member's family.

    Args:
        members, recipes: names; None for all.

    Raises:
        FaqError: a name is unknown.
    """
    catalog = settings.catalog
    every_member = [m.name for family in catalog.families.values() for m in family.members]
    with memoizing():
        return [
            cell_plan(settings, name, recipe)
            for name in members or every_member
            for recipe in _for_family(catalog, name, recipes or list(catalog.recipes))
        ]


def cell_plan(settings: Settings, member: str, recipe: str) -> CellPlan:
    """The plan of one cell. A problem with its recipe or weights is part of the result, not an error.

    Args:
        member: `name` or `name@rev8`.
    """
    catalog = settings.catalog
    try:
        found = catalog.recipe(recipe)
        cell = resolve_cell(catalog, member, found, settings.device, settings.digests)
        with catalog.attach_location(found):
            for stage in STAGES.values():
                stage.declare(cell)
        return CellPlan(cell.target.partition, recipe, cell, plan(cell, STAGES, settings.store), None)
    except FaqError as error:
        problem = str(error)
    except OSError as error:  # a file without read permission, or removed meanwhile
        problem = f"{error.filename or 'a file'} cannot be read: {error.strerror or error}"
    return CellPlan(_at_revision(settings, member), recipe, None, {}, problem)


def cell_fingerprint(cell: Cell) -> str:
    """One key for everything that the cell's stages declare: recipe, target, teacher, tools, versions.

    It changes if any stage would have to be made again. It is known before anything is made, and
    computing it downloads nothing.

    Raises:
        FaqError: the recipe names something unknown, or one of its files does not exist.
    """
    declared = {stage.name: [stage.version, stage.declare(cell)] for stage in STAGES.values()}
    return fingerprint("cell", 1, declared, {})


def declared_keys(cell: Cell, stages: Mapping[str, Stage] = STAGES) -> dict[str, str]:
    """A key for each stage, known before anything is made. Cells with equal keys share the artifact.

    Raises:
        FaqError: see `cell_fingerprint`.
    """
    keys: dict[str, str] = {}
    for stage in stages.values():
        inputs = {name: keys[name] for name in stage.inputs_for(cell)}
        keys[stage.name] = fingerprint(stage.name, stage.version, stage.declare(cell), inputs)
    return keys


def _for_family(catalog: Catalog, member: str, recipes: list[str]) -> list[str]:
    family, _ = catalog.member(member.partition("@")[0])
    return [name for name in recipes if family.name in catalog.recipe(name).families]


def _at_revision(settings: Settings, member: str) -> str:
    """`name@rev8` if the weights are available, otherwise the given name."""
    if "@" in member:
        return member
    try:
        return find_weights(settings.catalog.member(member)[1], settings.digests).partition
    except (FaqError, OSError):
        return member
