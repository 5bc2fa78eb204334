"""Which recipes a member can have, as far as files alone can tell."""

from __future__ import annotations

from faq_pipeline.config.catalog import Catalog
from faq_pipeline.config.family import Family, Member
from faq_pipeline.config.recipe import SELF, Recipe
from faq_pipeline.core.resolver import declared_teacher
from faq_pipeline.errors import FaqError


def possible_recipes(catalog: Catalog, family: Family, member: Member) -> list[str]:
    """The recipes for the member's family, without those whose teacher the member cannot have.

    Weights, devices and engines are not looked at: they differ between machines and come and go.
    """
    return [name for name, recipe in catalog.recipes.items() if _is_possible(catalog, family, member, recipe)]


def _is_possible(catalog: Catalog, family: Family, member: Member, recipe: Recipe) -> bool:
    if family.name not in recipe.families:
        return False
    regeneration = recipe.regeneration
    if not regeneration.generates or regeneration.source == SELF:
        return True
    try:
        declared_teacher(catalog, family, member, recipe)
    except FaqError:
        return False
    return True
