"""Queries that fetch all rows at once: a DuckDB connection keeps only the result of its last query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from faq_pipeline.lineage.schema import columns_of

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Record = TypeVar("Record")


def rows(con: DuckDBPyConnection, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    return con.execute(sql, list(parameters)).fetchall()


def column(con: DuckDBPyConnection, sql: str, *parameters: Any) -> list[Any]:
    """The values of a query with one column."""
    return [value for (value,) in rows(con, sql, *parameters)]


def records(con: DuckDBPyConnection, record: type[Record], rest: str, *parameters: Any) -> list[Record]:
    """Rows of a lineage table as records: `SELECT <columns> FROM <rest>`."""
    columns = ", ".join(f'"{name}"' for name in columns_of(record))
    return [record(*row) for row in rows(con, f"SELECT {columns} FROM {rest}", *parameters)]
