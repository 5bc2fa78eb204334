"""Updates the index from the store: `merge` after each stage, `rebuild` from scratch."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from faq_pipeline.errors import FaqError, ReadError
from faq_pipeline.lineage import schema
from faq_pipeline.lineage.connection import PATIENCE, BusyError, UnreadableError, connection
from faq_pipeline.store.store import Store
from faq_pipeline.util.locks import LockTimeoutError, ProcessLock

REBUILD_PATIENCE = 30.0
"""Seconds that a rebuild waits for a merge or another rebuild to finish."""


@dataclass(frozen=True)
class MergeResult:
    """What a merge did.

    Attributes:
        merged, removed: artifacts that entered and left the index.
        pending: the index could not be written; the next merge repairs it.
        reason: why it is pending; empty if it is not.
        problems: artifact files that could not be read, one line each; every merge tries them again.
    """

    merged: int = 0
    removed: int = 0
    pending: bool = False
    reason: str = ""
    problems: tuple[str, ...] = ()


def merge(store: Store, path: Path) -> MergeResult:
    """Update the index at `path` from the store: add new artifacts, delete removed ones.

    An index that is missing, damaged or of another schema version is rebuilt. A locked index is
    waited for at most one second. Problems of the index never raise: the index may be late, but a
    run must not fail because of it.
    """
    import duckdb

    try:
        with _sole_writer(path, PATIENCE):
            try:
                return _update(store, path)
            except (UnreadableError, _OutdatedError):
                return _rebuild(store, path)
    except LockTimeoutError:
        return MergeResult(pending=True, reason="another merge is at work")
    except (BusyError, OSError, ReadError, duckdb.Error) as error:
        return MergeResult(pending=True, reason=str(error))


def rebuild(store: Store, path: Path) -> MergeResult:
    """Build a new index from the store alone, beside the old one, and rename it into place.

    Works while another process has the old file open: that process keeps reading the old content.

    Raises:
        FaqError: another merge or rebuild does not finish.
    """
    try:
        with _sole_writer(path, REBUILD_PATIENCE):
            return _rebuild(store, path)
    except LockTimeoutError:
        raise FaqError("another process is updating the lineage index", hint="try again", file=path) from None


class _OutdatedError(Exception):
    """The index has another schema version."""


@contextmanager
def _sole_writer(path: Path, patience: float) -> Iterator[None]:
    with ProcessLock(path.with_name(path.name + ".lock"), timeout=patience):
        yield


def _update(store: Store, path: Path) -> MergeResult:
    from faq_pipeline.lineage.ingest import bring_up

    with connection(path, read_only=False) as con:
        found = schema.version(con)
        if found is None:
            schema.create(con)
        elif found != schema.SCHEMA_VERSION:
            raise _OutdatedError
        merged, removed, problems = bring_up(con, store)
        return MergeResult(merged, removed, problems=tuple(problems))


def _rebuild(store: Store, path: Path) -> MergeResult:
    for left in path.parent.glob(f"{path.name}.*.new*"):
        left.unlink(missing_ok=True)
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.new")
    try:
        result = _update(store, aside)
        # A write-ahead log belongs to one database: the old one's must not be played into this.
        for log in path.parent.glob(f"{path.name}.wal*"):
            log.unlink(missing_ok=True)
        aside.replace(path)
    finally:
        for left in path.parent.glob(f"{aside.name}*"):
            left.unlink(missing_ok=True)
    return replace(result, removed=0)
