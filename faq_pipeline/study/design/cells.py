"""The cells of a study, in the order in which they are made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from faq_pipeline.config.catalog import Catalog
from faq_pipeline.config.study import Study
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.resolver import resolve_cell
from faq_pipeline.quantization.spec_check import check_spec
from faq_pipeline.study.design.controls import check_budgets, check_controls, has_draws
from faq_pipeline.study.design.declared_identity import Declared
from faq_pipeline.study.design.recipes import Spec, StudyRecipes
from faq_pipeline.study.design.stages import JUDGED, MEASURED

JUDGED_LOAD = 10
"""Approximate cost of a cell that answers questions, relative to one that measures only divergence."""


@dataclass(frozen=True)
class StudyCell:
    """One checkpoint of a study: a target, an arm, a quantizer and a draw, evaluated on one split.

    Attributes:
        judged: whether the cell answers the questions; otherwise only the divergence is measured.
        pilot: whether the cell is used only to decide which conditions are primary.
        declared: hash of everything that the study declares for the cell, independent of the machine.
    """

    member: str
    arm: str
    quantizer: str
    draw: int
    split: str
    judged: bool
    pilot: bool
    declared: str
    cell: Cell

    @property
    def id(self) -> str:
        """The cell's name within the study, and the name of its result file."""
        return f"{self.member}.{self.arm}.{self.quantizer}.{self.split}.{self.draw}"

    @property
    def last(self) -> str:
        """The cell's last stage."""
        return JUDGED if self.judged else MEASURED


@dataclass(frozen=True)
class Design:
    """A study with its cells: pilots first, then draw by draw."""

    study: Study
    cells: tuple[StudyCell, ...]
    recipes: StudyRecipes

    def shard(self, index: int, count: int) -> Design:
        """Part `index` (1..count) of the cells, for one of several machines. Parts take about equally long.

        Cells of one draw share corpora and stay together. If there are more parts than draws, only cells
        of the same draw and target stay together.
        """
        draws = {cell.draw for cell in self.cells}
        units: dict[tuple[int, str], list[StudyCell]] = {}
        for cell in self.cells:
            units.setdefault((cell.draw, cell.member if count > len(draws) else ""), []).append(cell)
        loads = [0] * count
        mine: set[str] = set()
        for unit in sorted(units.values(), key=_load, reverse=True):  # largest first, to the smallest part
            part = loads.index(min(loads))
            loads[part] += _load(unit)
            if part == index - 1:
                mine.update(cell.id for cell in unit)
        return replace(self, cells=tuple(cell for cell in self.cells if cell.id in mine))


def _load(cells: Sequence[StudyCell]) -> int:
    """The cost of cells, in units of a cell that measures only divergence."""
    return sum(JUDGED_LOAD if cell.judged else 1 for cell in cells)


def resolve_study(catalog: Catalog, name: str, device: str, digests: Path) -> Design:
    """The named study with all its cells. No model is loaded.

    Args:
        device, digests: see `resolve_cell`.

    Raises:
        FaqError: a name is unknown, a recipe is invalid, a control is missing, or arms have unequal
            budgets. The error has file, line and hint.
    """
    study, sources = catalog.study(name)
    known = StudyRecipes(catalog, study, sources)
    recipes = {spec: known.recipe(spec) for spec in known.specs(study.split)}
    check_controls(study, recipes, sources)
    check_budgets(study, recipes, sources)
    maker = _Maker(known, device, digests, Declared())
    return Design(study, (*maker.pilots(), *maker.others()), known)


@dataclass(frozen=True)
class _Maker:
    recipes: StudyRecipes
    device: str
    digests: Path
    declared: Declared

    def pilots(self) -> Iterator[StudyCell]:
        """The pilot cells: both originals under every quantizer of the headline, on the pilot draws."""
        study = self.recipes.study
        for spec in self.recipes.specs(study.primary.split or study.split):
            if spec.arm in study.originals.both and headline_is_judged(study, spec.quantizer):
                yield from self._cells(spec, study.primary.draws, pilot=True)

    def others(self) -> list[StudyCell]:
        """All cells that are not pilots, draw by draw."""
        study = self.recipes.study
        draws = study.draw_numbers
        found = [
            cell
            for spec in self.recipes.specs(study.split)
            for cell in self._cells(spec, draws[: self._draws(spec)])
        ]
        return sorted(found, key=lambda cell: draws.index(cell.draw))

    def _draws(self, spec: Spec) -> int | None:
        """How many draws a spec has; None: all of the study."""
        return self.recipes.study.arms[spec.arm].draws if has_draws(self.recipes.recipe(spec)) else 1

    def _cells(self, spec: Spec, draws: Sequence[int], *, pilot: bool = False) -> Iterator[StudyCell]:
        study, recipe = self.recipes.study, self.recipes.recipe(spec)
        for member in study.families[spec.family].members:
            first = self._cell(spec, member)
            for draw in draws:
                cell = first.with_recipe(recipe.model_copy(update={"draw": draw}))
                yield StudyCell(
                    member=member,
                    arm=spec.arm,
                    quantizer=spec.quantizer,
                    draw=draw,
                    split=spec.split,
                    judged=pilot or study.judged(spec.arm, spec.quantizer),
                    pilot=pilot,
                    declared=self.declared(cell),
                    cell=cell,
                )

    def _cell(self, spec: Spec, member: str) -> Cell:
        recipe = self.recipes.recipe(spec)
        with self.recipes.attach_location(spec):
            cell = resolve_cell(self.recipes.catalog, member, recipe, self.device, self.digests)
            check_spec(recipe.quantization, cell.target)
        return cell


def headline_is_judged(study: Study, quantizer: str) -> bool:
    """Whether the headline arm and both originals answer the questions under a quantizer."""
    return all(
        study.judged(arm, quantizer) and quantizer in (study.arms[arm].quantizers or study.quantizers)
        for arm in (study.headline, *study.originals.both)
    )
