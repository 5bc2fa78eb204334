"""The matrix of members x recipes as it stands: which cells exist and what is made of them."""

from __future__ import annotations

from dataclasses import dataclass

from faq_pipeline.config.catalog import Catalog
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.resolver import resolve_cell
from faq_pipeline.errors import FaqError
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.execution.runner import PlannedStage, plan
from faq_pipeline.models.weights import find_weights
from faq_pipeline.settings import Settings
from faq_pipeline.store.fingerprint import fingerprint
from faq_pipeline.util.memoize import memoizing


@dataclass(frozen=True)
class CellPlan:
    """One cell: its plan, or why it cannot be."""

    member: str
    recipe: str
    cell: Cell | None
    planned: dict[str, PlannedStage]
    problem: str | None

    @property
    def partition(self) -> str:
        """`name@rev8|recipe`; without revision where the weights are not here."""
        return f"{self.member}|{self.recipe}"

    @property
    def made(self) -> int:
        """Stages whose artifact is there."""
        return sum(p.artifact is not None for p in self.planned.values())

    @property
    def complete(self) -> bool:
        return self.cell is not None and self.made == len(STAGES)


def cell_plans(
    settings: Settings, members: list[str] | None = None, recipes: list[str] | None = None
) -> list[CellPlan]:
    """All cells whose recipe is for the member's family, or those named.

    Raises:
        FaqError: an unknown name.
    """
    catalog = settings.catalog
    everyone = [m.name for family in catalog.families.values() for m in family.members]
    with memoizing():
        return [
            cell_plan(settings, name, recipe)
            for name in members or everyone
            for recipe in _for_family(catalog, name, recipes or list(catalog.recipes))
        ]


def cell_plan(settings: Settings, member: str, recipe: str) -> CellPlan:
    """One cell (`name` or `name@rev8`), however its recipe or its weights may be."""
    catalog = settings.catalog
    try:
        found = catalog.recipe(recipe)
        cell = resolve_cell(catalog, member, found, settings.device, settings.digests)
        with catalog.attach_location(found):
            for stage in STAGES.values():
                stage.identity(cell)
        return CellPlan(cell.target.partition, recipe, cell, plan(cell, STAGES, settings.store), None)
    except FaqError as error:
        problem = str(error)
    except OSError as error:  # a file that may not be read, or went while it was
        problem = f"{error.filename or 'a file'} cannot be read: {error.strerror or error}"
    return CellPlan(_at_revision(settings, member), recipe, None, {}, problem)


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


def _for_family(catalog: Catalog, member: str, recipes: list[str]) -> list[str]:
    family, _ = catalog.member(member.partition("@")[0])
    return [name for name in recipes if family.name in catalog.recipe(name).families]


def _at_revision(settings: Settings, member: str) -> str:
    """`name@rev8` where the weights are here, else the name as it was given."""
    if "@" in member:
        return member
    try:
        return find_weights(settings.catalog.member(member)[1], settings.digests).partition
    except (FaqError, OSError):
        return member
