"""Tables of an artifact: records of one class (`store/records.py`) in a Parquet file.

An artifact's Parquet files named after `records.TABLES` are at once its data and its lineage: the DuckDB
index reads these very files.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from faq_pipeline.errors import library_errors

Record = TypeVar("Record")


def write_rows(path: Path, rows: Iterable[Any], record: type) -> None:
    """Write records as one Parquet file, in the order given."""
    records, schema = list(rows), schema_of(record)
    # By column: `asdict` and dictionaries of rows take several times as long.
    columns = {name: [getattr(row, name) for row in records] for name in schema.names}
    pq.write_table(pa.Table.from_pydict(columns, schema=schema), path, compression="zstd")


def read_rows(path: Path, record: type[Record]) -> list[Record]:
    """Read what `write_rows` wrote.

    Raises:
        FaqError: the file is damaged, or no Parquet file.
    """
    named_errors = library_errors("the table cannot be read", file=path, hint="see faq cache verify")
    with named_errors, pq.ParquetFile(path) as file:  # `pq.read_table` would load pandas
        rows = file.read().to_pylist()
    return [record(**row) for row in rows]


def schema_of(record: type) -> pa.Schema:
    """The Arrow schema of a record class; optional fields are nullable."""
    hints = typing.get_type_hints(record)
    columns = []
    for column in fields(record):
        kind, nullable = _without_none(hints[column.name])
        columns.append(pa.field(column.name, _arrow(kind), nullable=nullable))
    return pa.schema(columns)


def _without_none(annotation: Any) -> tuple[Any, bool]:
    if isinstance(annotation, types.UnionType):
        (kind,) = [arg for arg in annotation.__args__ if arg is not type(None)]
        return kind, True
    return annotation, False


def _arrow(kind: Any) -> pa.DataType:
    if typing.get_origin(kind) is Literal:
        return pa.string()
    if typing.get_origin(kind) is list:
        return pa.list_(pa.int32())
    simple = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    return simple[kind]
