"""Copies the lineage rows of artifacts into the index."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from faq_pipeline.lineage.schema import columns_of
from faq_pipeline.lineage.uses import Use, read_uses
from faq_pipeline.store.artifact import MANIFEST, Artifact, Manifest
from faq_pipeline.store.fingerprint import file_digest
from faq_pipeline.store.store import Store
from faq_pipeline.store.tables import TABLES

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def bring_up(con: DuckDBPyConnection, store: Store) -> tuple[int, int, list[str]]:
    """Make the tables match the store; each artifact is added or deleted in one transaction.

    Returns:
        Number of artifacts added completely, number deleted, and a line for each damaged file.
    """
    there = {one.path.name: one for one in store.folders() if (one.path / MANIFEST).is_file()}
    known = {name: (stamp, bad) for name, stamp, bad in con.execute("FROM indexed").fetchall()}
    gone = known.keys() - there.keys()
    for name in gone:
        with _transaction(con):
            _forget(con, name)
    merged, problems = 0, []
    for name, artifact in there.items():
        try:
            stamp = (artifact.path / MANIFEST).stat().st_mtime_ns
        except FileNotFoundError:
            continue  # removed since it was listed
        if known.get(name) == (stamp, None):
            continue
        found = _enter(con, artifact, stamp)
        merged += not found
        problems += found
    _refresh_cells(con, read_uses(store), there.keys())
    return merged, len(gone), problems


def _enter(con: DuckDBPyConnection, artifact: Artifact, stamp: int) -> list[str]:
    """Replace an artifact's rows; returns what was wrong with its files."""
    import duckdb

    try:
        manifest = artifact.manifest
    except (OSError, ValueError):
        return _note(con, artifact, stamp, [f"{artifact.path / MANIFEST}: cannot be read"])
    sound, problems = _sound_tables(artifact)
    try:
        with _transaction(con):
            _forget(con, artifact.path.name)
            _insert_manifest(con, artifact.path.name, manifest)
            for table in sound:
                _insert_rows(con, artifact, table)
            _insert_stamp(con, artifact, stamp, problems)
    except duckdb.Error as error:
        first = str(error).splitlines()[0]
        return _note(con, artifact, stamp, [*problems, f"{artifact.path}: {first}"])
    return problems


def _sound_tables(artifact: Artifact) -> tuple[list[str], list[str]]:
    """Lineage tables whose bytes are as committed, and a line for each that is not."""
    sound, problems = [], []
    entries = {entry.path: entry for entry in artifact.manifest.files}
    for table in TABLES:
        entry = entries.get(f"{table}.parquet")
        if entry is None:
            continue
        path = artifact.file(entry.path)
        if not path.is_file():
            problems.append(f"{path}: missing")
        elif file_digest(path) != entry.sha256:
            problems.append(f"{path}: bytes differ from the manifest")
        else:
            sound.append(table)
    return sound, problems


def _insert_manifest(con: DuckDBPyConnection, fingerprint: str, manifest: Manifest) -> None:
    con.execute(
        "INSERT INTO artifacts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            fingerprint,
            manifest.stage,
            manifest.stage_version,
            manifest.digest,
            datetime.fromisoformat(manifest.created).astimezone(UTC).replace(tzinfo=None),
            manifest.seconds,
            f"{manifest.stage}/{fingerprint}",
            json.dumps(manifest.identity, ensure_ascii=False),
            json.dumps(manifest.metadata, ensure_ascii=False),
        ],
    )
    for stage, digest in manifest.inputs.items():
        made_from = manifest.upstream.get(stage)
        con.execute("INSERT INTO inputs VALUES (?, ?, ?, ?)", [fingerprint, stage, digest, made_from])


def _insert_rows(con: DuckDBPyConnection, artifact: Artifact, table: str) -> None:
    """Copy a Parquet file. Columns that an older file lacks become NULL; unknown columns are ignored."""
    wanted = ", ".join(f"'{name}'" for name in columns_of(TABLES[table]))
    con.execute(
        f"INSERT INTO {table} BY NAME"
        f" SELECT ? AS fingerprint, COLUMNS(lambda c: c IN ({wanted})) FROM read_parquet(?)",
        [artifact.path.name, str(artifact.file(f"{table}.parquet"))],
    )


def _insert_stamp(con: DuckDBPyConnection, artifact: Artifact, stamp: int, problems: list[str]) -> None:
    problem = "\n".join(problems) or None
    con.execute("INSERT INTO indexed VALUES (?, ?, ?)", [artifact.path.name, stamp, problem])


def _note(con: DuckDBPyConnection, artifact: Artifact, stamp: int, problems: list[str]) -> list[str]:
    with _transaction(con):
        _forget(con, artifact.path.name)
        _insert_stamp(con, artifact, stamp, problems)
    return problems


def _forget(con: DuckDBPyConnection, fingerprint: str) -> None:
    for table in ("indexed", "artifacts", "inputs", *TABLES):
        con.execute(f"DELETE FROM {table} WHERE fingerprint = ?", [fingerprint])


def _refresh_cells(con: DuckDBPyConnection, uses: list[Use], there: Collection[str]) -> None:
    """Rewrite `cells` if it is not what the store's uses say, in one go: a study has thousands."""
    wanted = [_cell_row(use) for use in uses if use.fingerprint in there]
    if wanted == con.execute("FROM cells ORDER BY rowid").fetchall():
        return
    # A list for each column: a Parquet or Arrow table would load pandas, which takes longer than all else.
    types = [kind for _, kind, *_ in con.execute("DESCRIBE cells").fetchall()]
    columns = [[row[number] for row in wanted] for number in range(len(types))]
    with _transaction(con):
        con.execute("DELETE FROM cells")
        con.execute(
            f"INSERT INTO cells SELECT {', '.join(f'unnest(CAST(? AS {kind}[]))' for kind in types)}", columns
        )


def _cell_row(use: Use) -> tuple[object, ...]:
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


@contextmanager
def _transaction(con: DuckDBPyConnection) -> Iterator[None]:
    con.begin()
    try:
        yield
    except BaseException:
        con.rollback()
        raise
    con.commit()
