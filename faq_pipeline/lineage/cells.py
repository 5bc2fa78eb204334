"""The table `cells`: which cell used which artifact, from the store's uses."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from faq_pipeline.lineage.rows import insert_rows
from faq_pipeline.lineage.uses import Use, partitions_that_use, read_uses
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.store import Store

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def refresh_cells(
    con: DuckDBPyConnection,
    store: Store,
    there: Collection[str],
    changed: Collection[str] | None,
    gone: Sequence[str],
    fresh: Sequence[Artifact],
) -> None:
    """Make `cells` what the store's uses say.

    Args:
        there: fingerprints of all artifacts; uses of others are left out.
        changed: the cells whose uses changed; None for all.
        gone: fingerprints of the artifacts that were deleted.
        fresh: artifacts that are new; older uses of them may be recorded.
    """
    if changed is None:
        _replace(con, [use for use in read_uses(store) if use.fingerprint in there], None)
        return
    if gone:
        con.execute("DELETE FROM cells WHERE fingerprint IN (SELECT unnest(CAST(? AS VARCHAR[])))", [gone])
    partitions = set(changed)
    if fresh:
        names, stages = {one.path.name for one in fresh}, {one.path.parent.name for one in fresh}
        partitions |= partitions_that_use(store, names, stages)
    found = [use for partition in sorted(partitions) for use in read_uses(store, partition)]
    _replace(con, [use for use in found if use.fingerprint in there], sorted(partitions))


def _replace(con: DuckDBPyConnection, uses: Sequence[Use], partitions: list[str] | None) -> None:
    """Rewrite the rows of some cells, or of all, unless they are the same."""
    where, given = "", []
    if partitions is not None:
        where, given = 'WHERE "partition" IN (SELECT unnest(CAST(? AS VARCHAR[])))', [partitions]
    wanted = [_row(use) for use in uses]
    if set(wanted) != set(con.execute(f"FROM cells {where}", given).fetchall()):
        con.execute(f"DELETE FROM cells {where}", given)
        insert_rows(con, "cells", wanted)


def _row(use: Use) -> tuple[object, ...]:
    return (
        use.fingerprint,
        use.stage,
        use.partition,
        use.member,
        use.recipe,
        datetime.fromtimestamp(use.used / 1e9, UTC).replace(tzinfo=None),
        use.current,
        use.licences.get("base"),
        use.licences.get("teacher"),
    )
