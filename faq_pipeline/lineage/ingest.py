"""Copies the lineage rows of artifacts into the index, many artifacts at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from faq_pipeline.errors import ReadError, reading_file
from faq_pipeline.lineage.cells import refresh_cells
from faq_pipeline.lineage.rows import Readable, forget, insert, spoilt_tables, without
from faq_pipeline.lineage.snapshot import Changes
from faq_pipeline.store.artifact import MANIFEST, Artifact, FileEntry
from faq_pipeline.store.fingerprint import hash_file
from faq_pipeline.store.records import TABLES
from faq_pipeline.store.store import Store
from faq_pipeline.store.verification import misplaced
from faq_pipeline.util.files import ABSENT

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

BATCH_BYTES, BATCH_ARTIFACTS = 1 << 26, 1000
"""Of Parquet, and of artifacts, that enter in one transaction: few and large ones cost less."""


@dataclass(frozen=True)
class _Known:
    """An artifact that the index has read: the time of its manifest, and what was wrong."""

    stamp: int
    problem: str | None


@dataclass(frozen=True)
class Ingested:
    """What was brought into the index.

    Attributes:
        merged: number of artifacts added completely.
        removed: number of artifacts deleted.
        problems: a line for each damaged file; noted in the index.
        unread: a line for each file that cannot be read now; its artifact's rows stay as they were.
    """

    merged: int
    removed: int
    problems: tuple[str, ...]
    unread: tuple[str, ...]


def bring_up(con: DuckDBPyConnection, store: Store, changes: Changes) -> Ingested:
    """Make the tables match the store.

    Args:
        changes: where the store changed since the tables matched it.

    Raises:
        duckdb.Error: the index cannot be read or written.
        ReadError: a folder of the store cannot be read now.
    """
    known = {name: _Known(stamp, problem) for name, stamp, problem in con.execute("FROM indexed").fetchall()}
    there = {artifact.path.name: artifact for artifact in store.folders()}
    unread: list[str] = []
    waiting, absent = _look(known, there, changes, unread)
    gone = [name for name in known if name not in there or name in absent]
    if gone:
        with transaction(con):
            forget(con, gone)
    merged, problems = 0, []
    for batch in _batches(_read(waiting, unread)):
        entered = _enter(con, batch, known)
        merged += sum(not one.problems for one in entered)
        problems += [line for one in entered for line in one.problems]
    fresh = [artifact for artifact, _ in waiting if artifact.path.name not in known]
    with transaction(con):
        refresh_cells(con, store, there.keys() - absent, changes.partitions, gone, fresh)
    return Ingested(merged, len(gone), tuple(problems), tuple(unread))


def _look(
    known: Mapping[str, _Known], there: Mapping[str, Artifact], changes: Changes, unread: list[str]
) -> tuple[list[tuple[Artifact, int]], set[str]]:
    """What must be read, with the time of its manifest; and what has no manifest."""
    waiting: list[tuple[Artifact, int]] = []
    absent: set[str] = set()
    for name, artifact in there.items():
        entered = known.get(name)
        sound = entered is not None and entered.problem is None
        if sound and changes.stages is not None and artifact.path.parent.name not in changes.stages:
            continue
        path = artifact.path / MANIFEST
        try:
            with reading_file(path):
                stamp = path.stat().st_mtime_ns
        except ABSENT:
            absent.add(name)
        except ReadError as error:
            unread.append(str(error))
        else:
            if entered is None or not sound or entered.stamp != stamp:
                waiting.append((artifact, stamp))
    return waiting, absent


def _read(waiting: Iterable[tuple[Artifact, int]], unread: list[str]) -> Iterator[Readable]:
    for artifact, stamp in waiting:
        try:
            yield _readable(artifact, stamp)
        except ReadError as error:
            unread.append(str(error))


def _readable(artifact: Artifact, stamp: int) -> Readable:
    """What of an artifact can enter: its manifest, and the tables whose bytes are as committed.

    Raises:
        ReadError: a file cannot be read now.
    """
    path = artifact.path / MANIFEST
    try:
        manifest = artifact.manifest
    except (*ABSENT, ValueError):
        return Readable(artifact, stamp, None, (), (f"{path}: cannot be read",))
    if lines := misplaced(artifact, manifest):
        return Readable(artifact, stamp, None, (), (f"{path}: {lines[0]}",))
    entries = {entry.path: entry for entry in manifest.files}
    found = {table: entries[f"{table}.parquet"] for table in TABLES if f"{table}.parquet" in entries}
    wrong = {table: _wrong(artifact.file(entry.path), entry) for table, entry in found.items()}
    return Readable(
        artifact,
        stamp,
        manifest,
        tuple(table for table, problem in wrong.items() if not problem),
        tuple(problem for problem in wrong.values() if problem),
    )


def _wrong(path: Path, entry: FileEntry) -> str:
    try:
        with reading_file(path):
            return "" if hash_file(path) == entry.sha256 else f"{path}: bytes differ from the manifest"
    except ABSENT:
        return f"{path}: missing"


def _batches(found: Iterable[Readable]) -> Iterator[list[Readable]]:
    batch: list[Readable] = []
    size = 0
    for one in found:
        batch.append(one)
        size += one.bytes
        if size >= BATCH_BYTES or len(batch) == BATCH_ARTIFACTS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _enter(con: DuckDBPyConnection, batch: list[Readable], known: Mapping[str, _Known]) -> list[Readable]:
    """Replace the rows of some artifacts; what entered, without the tables that DuckDB cannot read."""
    import duckdb

    stale = [one.name for one in batch if one.name in known]
    try:
        with transaction(con):
            forget(con, stale)
            insert(con, batch)
    except duckdb.Error:
        spoilt = spoilt_tables(batch)
        if not spoilt:
            raise  # it is not the artifacts' fault
        batch = [without(one, spoilt) for one in batch]
        with transaction(con):
            forget(con, stale)
            insert(con, batch)
    return batch


@contextmanager
def transaction(con: DuckDBPyConnection) -> Iterator[None]:
    """Commit what the block does, or nothing of it."""
    import duckdb

    con.begin()
    try:
        yield
    except BaseException:
        with suppress(duckdb.Error):  # after some errors DuckDB refuses everything; the first says more
            con.rollback()
        raise
    con.commit()
