"""Partitions: members x recipes. Samples and study draws are never partitions."""

from __future__ import annotations

import dagster as dg

MEMBERS = dg.DynamicPartitionsDefinition(name="members")
"""Members at a revision, with keys `name@rev8`. Added by `faq`, by the member sensor, or manually."""


def cells(recipes: list[str]) -> dg.MultiPartitionsDefinition:
    """Partitions of cells, with keys `name@rev8|recipe`."""
    return dg.MultiPartitionsDefinition({"member": MEMBERS, "recipe": dg.StaticPartitionsDefinition(recipes)})


def split(partition_key: str) -> tuple[str, str]:
    """Split the key of a cell into (member, recipe)."""
    member, _, recipe = partition_key.partition("|")
    return member, recipe
