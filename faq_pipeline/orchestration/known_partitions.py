"""The partitions that the families and recipes of some settings give."""

from __future__ import annotations

from dataclasses import dataclass

from faq_pipeline.config.catalog import Catalog
from faq_pipeline.config.family import Family, Member
from faq_pipeline.errors import FaqError
from faq_pipeline.models.weights import find_weights
from faq_pipeline.planning.possible_cells import possible_recipes
from faq_pipeline.settings import Settings


@dataclass(frozen=True)
class KnownPartitions:
    """Partition keys.

    Attributes:
        members: those of all members with usable weights.
        cells: those of the cells that these members can have.
        problems: what is wrong with the other members.
    """

    members: list[str]
    cells: list[str]
    problems: list[str]


def known_partitions(settings: Settings, only: str | None = None) -> KnownPartitions:
    """What should be a partition now.

    Args:
        only: a family; all by default.

    Raises:
        FaqError: the family is unknown, or the registry of discovered members is broken.
    """
    known, catalog = KnownPartitions([], [], []), settings.catalog
    for family in catalog.families.values() if only is None else [catalog.family(only)]:
        for member in family.members:
            key, problem = partition_of(member, settings)
            if problem:
                known.problems.append(problem)
            else:
                known.members.append(key)
                known.cells.extend(cells_of(key, catalog, family, member))
    return known


def partition_of(member: Member, settings: Settings) -> tuple[str, str]:
    """The member's partition key and "", or "" and the problem with its weights."""
    try:
        return find_weights(member, settings.digests).partition, ""
    except FaqError as error:
        return "", str(error)


def cells_of(key: str, catalog: Catalog, family: Family, member: Member) -> list[str]:
    """The partition keys of the cells that the member, with this key, can have."""
    return [f"{key}|{recipe}" for recipe in possible_recipes(catalog, family, member)]
