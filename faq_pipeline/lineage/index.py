"""Updates the index from the store: `merge` after each stage, `rebuild` from scratch."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from faq_pipeline.errors import FaqError
from faq_pipeline.lineage import schema
from faq_pipeline.lineage.connection import PATIENCE, BusyError, UnreadableError, connection
from faq_pipeline.lineage.merged import Merged, forget, recall, remember
from faq_pipeline.lineage.snapshot import EVERYTHING, Changes, Snapshot
from faq_pipeline.store.store import Store
from faq_pipeline.util.locks import LockTimeoutError, ProcessLock

if TYPE_CHECKING:
    from faq_pipeline.lineage.ingest import Ingested

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

    Only folders that changed since the last merge are looked into. An index that is not as the last merge
    left it is read whole, and rebuilt if it is damaged, as one is that is missing or of another schema
    version. A locked index is waited for at most one second. Problems of the index never raise: the
    index may be late, but a run must not fail because of it.
    """
    try:
        with _sole_writer(path, PATIENCE):
            return _merge(store, path)
    except LockTimeoutError:
        return MergeResult(pending=True, reason="another merge is at work")
    except (BusyError, UnreadableError, OSError) as error:
        return MergeResult(pending=True, reason=str(error))


def rebuild(store: Store, path: Path) -> MergeResult:
    """Build a new index from the store alone, beside the old one, and rename it into place.

    Works while another process has the old file open: that process keeps reading the old content.

    Raises:
        FaqError: another merge or rebuild does not finish, or the file cannot be written.
    """
    try:
        with _sole_writer(path, REBUILD_PATIENCE):
            return _rebuild(store, path)
    except LockTimeoutError:
        raise FaqError("another process is updating the lineage index", hint="try again", file=path) from None
    except (BusyError, UnreadableError) as error:
        raise FaqError(f"the lineage index cannot be written: {error}", file=path) from None


class _OutdatedError(Exception):
    """The index has another schema version."""


@contextmanager
def _sole_writer(path: Path, patience: float) -> Iterator[None]:
    with ProcessLock(path.with_name(path.name + ".lock"), timeout=patience):
        yield


def _merge(store: Store, path: Path) -> MergeResult:
    before = recall(path, store.root)
    known = None if before is None else before.snapshot
    now = Snapshot.take(store, known)
    changes = now.changes(known)
    if before is not None and not before.problems and not changes:
        return MergeResult()
    try:
        result = _update(store, path, changes, before)
    except _OutdatedError:
        return _rebuild(store, path)
    except UnreadableError:
        if _is_sound(path):  # then something else is wrong: the disk is full, say
            raise
        return _rebuild(store, path)
    return _finished(path, now, result)


def _update(store: Store, path: Path, changes: Changes, before: Merged | None) -> Ingested:
    from faq_pipeline.lineage.ingest import bring_up

    with connection(path, read_only=False) as con:
        found = schema.version(con)
        if found is None:
            schema.create(con)
            changes = EVERYTHING
        elif found != schema.SCHEMA_VERSION:
            raise _OutdatedError
        elif before is None:
            schema.read_everything(con)
        forget(path)  # until all of it is in
        return bring_up(con, store, changes)


def _is_sound(path: Path) -> bool:
    """Whether every row of the index can be read."""
    try:
        with connection(path, read_only=True) as con:
            schema.read_everything(con)
    except UnreadableError:
        return False
    return True


def _rebuild(store: Store, path: Path) -> MergeResult:
    for left in path.parent.glob(f"{path.name}.*.new*"):
        left.unlink(missing_ok=True)
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.new")
    now = Snapshot.take(store)
    try:
        result = _update(store, aside, EVERYTHING, None)
        # A write-ahead log belongs to one database: the old one's must not be played into this.
        for log in path.parent.glob(f"{path.name}.wal*"):
            log.unlink(missing_ok=True)
        aside.replace(path)
    finally:
        for left in path.parent.glob(f"{aside.name}*"):
            left.unlink(missing_ok=True)
    return _finished(path, now, replace(result, removed=0))


def _finished(path: Path, now: Snapshot, result: Ingested) -> MergeResult:
    if not result.unread:  # else the next merge looks at everything
        remember(path, now, bool(result.problems))
    return MergeResult(result.merged, result.removed, problems=(*result.problems, *result.unread))
