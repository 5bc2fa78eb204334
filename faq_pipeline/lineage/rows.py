"""Rows of artifacts as they enter the index: by column from manifests, by file from Parquet."""

from __future__ import annotations

import glob
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from faq_pipeline.lineage import schema
from faq_pipeline.lineage.schema import columns_of
from faq_pipeline.store.artifact import Artifact, Manifest
from faq_pipeline.store.records import TABLES

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True)
class Readable:
    """What of an artifact can be read.

    Attributes:
        stamp: time of its manifest, in nanoseconds.
        manifest: None where it cannot be read.
        tables: lineage tables whose bytes are as committed.
        problems: a line for each file that is not.
    """

    artifact: Artifact
    stamp: int
    manifest: Manifest | None
    tables: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.artifact.path.name

    @property
    def bytes(self) -> int:
        """Of its lineage tables."""
        if self.manifest is None:
            return 0
        files = {f"{table}.parquet" for table in self.tables}
        return sum(entry.bytes for entry in self.manifest.files if entry.path in files)

    def file(self, table: str) -> str:
        """The path of a table for DuckDB, which takes some characters for patterns."""
        return glob.escape(str(self.artifact.file(f"{table}.parquet")))


def insert(con: DuckDBPyConnection, batch: Sequence[Readable]) -> None:
    """Enter artifacts that have no rows yet."""
    read = {one.name: one.manifest for one in batch if one.manifest is not None}
    insert_rows(con, "artifacts", [_artifact_row(*item) for item in read.items()])
    insert_rows(
        con,
        "inputs",
        [
            (name, stage, digest, manifest.upstream.get(stage))
            for name, manifest in read.items()
            for stage, digest in manifest.inputs.items()
        ],
    )
    for table in TABLES:
        files = [one.file(table) for one in batch if table in one.tables]
        if files:
            _insert_files(con, table, files)
    insert_rows(con, "indexed", [(one.name, one.stamp, "\n".join(one.problems) or None) for one in batch])


def forget(con: DuckDBPyConnection, fingerprints: Collection[str]) -> None:
    """Delete all rows of some artifacts, but for their uses."""
    if fingerprints:
        for table in ("indexed", "artifacts", "inputs", *TABLES):
            sql = f"DELETE FROM {table} WHERE fingerprint IN (SELECT unnest(CAST(? AS VARCHAR[])))"
            con.execute(sql, [list(fingerprints)])


def insert_rows(con: DuckDBPyConnection, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows in one go, as a list a column: an Arrow table would load pandas, which takes longer."""
    if rows:
        types = [kind for _, kind, *_ in con.execute(f"DESCRIBE {table}").fetchall()]
        values = ", ".join(f"unnest(CAST(? AS {kind}[]))" for kind in types)
        con.execute(
            f"INSERT INTO {table} SELECT {values}", [list(column) for column in zip(*rows, strict=True)]
        )


def spoilt_tables(batch: Sequence[Readable]) -> dict[tuple[str, str], str]:
    """What DuckDB says of those tables that cannot enter any index, by artifact and table."""
    import duckdb

    spoilt = {}
    with duckdb.connect() as con:
        schema.create(con)
        for one in batch:
            for table in one.tables:
                try:
                    _insert_files(con, table, [one.file(table)])
                except duckdb.Error as error:
                    spoilt[one.name, table] = str(error).splitlines()[0]
                con.execute(f"DELETE FROM {table}")
    return spoilt


def without(one: Readable, spoilt: Mapping[tuple[str, str], str]) -> Readable:
    """The artifact without its spoilt tables, which become problems."""
    lines = [
        f"{one.artifact.file(f'{table}.parquet')}: {spoilt[one.name, table]}"
        for table in one.tables
        if (one.name, table) in spoilt
    ]
    tables = tuple(table for table in one.tables if (one.name, table) not in spoilt)
    return replace(one, tables=tables, problems=(*one.problems, *lines))


def _artifact_row(name: str, manifest: Manifest) -> tuple[Any, ...]:
    return (
        name,
        manifest.stage,
        manifest.stage_version,
        manifest.digest,
        datetime.fromisoformat(manifest.created).astimezone(UTC).replace(tzinfo=None),
        manifest.seconds,
        f"{manifest.stage}/{name}",
        json.dumps(manifest.identity, ensure_ascii=False),
        json.dumps(manifest.metadata, ensure_ascii=False),
    )


def _insert_files(con: DuckDBPyConnection, table: str, files: list[str]) -> None:
    """Copy Parquet files, each in the folder of its artifact.

    Columns that an older file lacks become NULL; unknown columns are ignored.
    """
    wanted = ", ".join(f"'{name}'" for name in columns_of(TABLES[table]))
    con.execute(
        f"INSERT INTO {table} BY NAME"
        f" SELECT split_part(filename, '/', -2) AS fingerprint, COLUMNS(lambda c: c IN ({wanted}))"
        " FROM read_parquet(?, filename = true, union_by_name = true)",
        [files],
    )
