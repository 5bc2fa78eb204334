"""Queries that fetch all rows at once: a DuckDB connection keeps only the result of its last query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from faq_pipeline.lineage.schema import columns_of

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Record = TypeVar("Record")

AMONG = "IN (SELECT unnest(CAST(? AS VARCHAR[])))"
"""For a list of texts. One query for many artifacts: each reads whole columns of the index."""


def rows(con: DuckDBPyConnection, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    return con.execute(sql, list(parameters)).fetchall()


def column(con: DuckDBPyConnection, sql: str, *parameters: Any) -> list[Any]:
    """The values of a query with one column."""
    return [value for (value,) in rows(con, sql, *parameters)]


def records_by_artifact(
    con: DuckDBPyConnection, record: type[Record], rest: str, *parameters: Any
) -> list[tuple[str, Record]]:
    """Rows of a lineage table as records, each with the fingerprint of the artifact that it lies in.

    Args:
        rest: of the query, after `FROM`.
    """
    columns = ", ".join(f'"{name}"' for name in ("fingerprint", *columns_of(record)))
    return [(row[0], record(*row[1:])) for row in rows(con, f"SELECT {columns} FROM {rest}", *parameters)]
