"""Resolves names to a cell: the target's weights, the teacher, the device."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from faq_pipeline.config.catalog import Catalog
from faq_pipeline.config.family import Family, Member
from faq_pipeline.config.recipe import AUTO, SELF, Recipe
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.engines import check_engines, teacher_traits
from faq_pipeline.errors import FaqError
from faq_pipeline.models.device import choose_device
from faq_pipeline.models.device_memory import check_fits, working_bytes
from faq_pipeline.models.weights import Weights, check_vocabulary, find_weights


def resolve_cell(catalog: Catalog, member: str, recipe: Recipe, device: str, digests: Path) -> Cell:
    """The cell of a member (`name` or `name@rev8`) and a recipe.

    Args:
        device: `auto`, or one as in `models.device`.
        digests: as the cache of `find_weights`.

    Raises:
        FaqError: an unknown name, a recipe for another family, a revision that is gone, weights
            that are unusable, or a teacher that cannot serve.
    """
    name, _, revision = member.partition("@")
    family, found = catalog.member(name)
    if family.name not in recipe.families:
        raise FaqError(
            f"recipe {recipe.name!r} is for {', '.join(recipe.families)},"
            f" and {name!r} is of family {family.name!r}",
            hint=f"add {family.name} to the recipe's 'families' or choose another recipe",
        )
    with catalog.attach_location(recipe):
        check_engines(recipe)
    found = catalog.revision(found, revision)
    target = find_weights(found, digests)
    if revision and target.digest[:8] != revision:
        raise FaqError(
            f"{member!r} is not here any more: {name} is now at {target.digest[:8]}",
            hint=f"use {target.partition}, or put the old weights back",
        )
    chosen = choose_device(device)
    check_fits(found, chosen, _smaller(family, found))
    cell = Cell(family, recipe, target, None, chosen)
    if not recipe.regeneration.generates:
        return cell
    if recipe.regeneration.source == SELF:
        return replace(cell, teacher=target)
    with catalog.attach_location(recipe):
        its_family, teacher = _teacher(catalog, cell, digests)
    return replace(cell, teacher=teacher, teacher_family=its_family)


def _teacher(catalog: Catalog, cell: Cell, digests: Path) -> tuple[Family, Weights]:
    regeneration, family, target = cell.recipe.regeneration, cell.family, cell.target
    its_family, member = declared_teacher(catalog, family, target.member, cell.recipe)
    traits = teacher_traits(cell)
    if not traits.remote:
        spread = traits.gpus_per_copy(its_family.serving_of(member))
        check_fits(member, cell.device, _between(family, target.member, member), devices=spread)
    teacher = find_weights(member, digests)
    # A hub member's tokenizer is downloaded, and compared, when the corpus is made.
    local = target.member.path is not None and member.path is not None
    if local and not regeneration.allow_cross_family:
        check_vocabulary(teacher, target)
    return its_family, teacher


def declared_teacher(
    catalog: Catalog, family: Family, target: Member, recipe: Recipe
) -> tuple[Family, Member]:
    """The teacher that the recipe declares for the target, with its family; no weights are looked for.

    Raises:
        FaqError: there is none.
    """
    if recipe.regeneration.teacher == AUTO:
        return family, auto_teacher(family, target)
    return _named(catalog, family, target, recipe)


def auto_teacher(family: Family, target: Member) -> Member:
    """Teacher `auto`: the largest member within the budget; it has more parameters than the target.

    Raises:
        FaqError: there is none.
    """
    budget = family.memory_budget_gib * 2**30
    larger = [m for m in family.members if m.parameters > target.parameters]
    within = [m for m in larger if working_bytes(m.parameters) <= budget]
    if not within:
        why = "it is the largest" if not larger else "none larger is within memory_budget_gib"
        raise FaqError(
            f"no teacher for {target.name!r} in family {family.name!r}: {why}",
            hint="use a recipe with source: self, or name a teacher",
        )
    return max(within, key=lambda m: m.parameters)


def _named(catalog: Catalog, family: Family, target: Member, recipe: Recipe) -> tuple[Family, Member]:
    name = recipe.regeneration.teacher
    try:
        its_family, member = catalog.member(name)
    except FaqError as error:
        raise FaqError(f"teacher: {error.problem}", hint=error.hint, key="regeneration.teacher") from None
    if its_family.name != family.name and not recipe.regeneration.allow_cross_family:
        raise FaqError(
            f"teacher {name!r} is of family {its_family.name!r}, and {target.name!r} of {family.name!r}",
            hint="choose a teacher of the family, or set regeneration.allow_cross_family: true",
            key="regeneration.teacher",
        )
    # Sizes cannot be compared across families, so a teacher of another family may be smaller.
    if its_family.name == family.name and member.parameters < target.parameters:
        raise FaqError(
            f"teacher {name!r} ({member.parameters:,} parameters) is smaller than"
            f" {target.name!r} ({target.parameters:,})",
            hint="a teacher is at least as large as its target; use teacher: auto",
            key="regeneration.teacher",
        )
    return its_family, member


def _smaller(family: Family, than: Member) -> list[Member]:
    return [m for m in family.members if m.parameters < than.parameters]


def _between(family: Family, target: Member, teacher: Member) -> list[Member]:
    return [m for m in _smaller(family, teacher) if m.parameters > target.parameters]
