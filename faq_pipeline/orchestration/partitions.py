"""What a human backfills: members x recipes. Samples and study draws are never partitions."""

from __future__ import annotations

import dagster as dg

MEMBERS = dg.DynamicPartitionsDefinition(name="members")
"""Keys `name@rev8`: a member at a revision. Registered by `faq`, the member sensor, or by hand."""


def cells(recipes: list[str]) -> dg.MultiPartitionsDefinition:
    """The matrix; keys read `name@rev8|recipe`."""
    return dg.MultiPartitionsDefinition({"member": MEMBERS, "recipe": dg.StaticPartitionsDefinition(recipes)})


def split(partition_key: str) -> tuple[str, str]:
    """A cell's key as (member, recipe)."""
    member, _, recipe = partition_key.partition("|")
    return member, recipe
