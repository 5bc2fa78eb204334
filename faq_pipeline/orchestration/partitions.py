"""Partitions: cells and members. Samples and study draws are never partitions.

Both are dynamic: members are discovered, and a recipe file may be added while Dagster runs. Cells are
partitions of their own, not the product of members and recipes, since most pairs of the product can
never exist: a recipe is for some families, and the UI would offer all pairs.
"""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

CELLS = dg.DynamicPartitionsDefinition(name="cells")
"""Cells, with keys `name@rev8|recipe`. Added wherever members are."""
MEMBERS = dg.DynamicPartitionsDefinition(name="members")
"""Members at a revision, with keys `name@rev8`. Added by `faq`, by the member sensor, or manually."""


def split(partition_key: str) -> tuple[str, str]:
    """Split the key of a cell into (member, recipe)."""
    member, _, recipe = partition_key.partition("|")
    return member, recipe


def register(instance: dg.DagsterInstance, members: Iterable[str], cells: Iterable[str]) -> None:
    """Add the partitions of these members and cells that do not exist yet."""
    for request in add_requests(instance, members, cells):
        instance.add_dynamic_partitions(request.partitions_def_name, request.partition_keys)


def register_cells(instance: dg.DagsterInstance, cells: Iterable[str]) -> None:
    """Add the partitions of these cells and of their members that do not exist yet."""
    cells = list(cells)
    register(instance, [split(cell)[0] for cell in cells], cells)


def register_key(instance: dg.DagsterInstance, partition: str) -> None:
    """Add the partition of this cell, with its member's, or of this member where it does not exist yet."""
    member, recipe = split(partition)
    register(instance, [member], [partition] if recipe else [])


def add_requests(
    instance: dg.DagsterInstance, members: Iterable[str], cells: Iterable[str]
) -> list[dg.AddDynamicPartitionsRequest]:
    """The requests with which a sensor adds the partitions that do not exist yet."""
    asked = ((MEMBERS, members), (CELLS, cells))
    return [
        definition.build_add_request(new)
        for definition, keys in asked
        if (new := missing(instance, definition, keys))
    ]


def missing(
    instance: dg.DagsterInstance, definition: dg.DynamicPartitionsDefinition, keys: Iterable[str]
) -> list[str]:
    """The keys that are no partitions yet."""
    existing = set(instance.get_dynamic_partitions(str(definition.name)))
    return [key for key in dict.fromkeys(keys) if key not in existing]
