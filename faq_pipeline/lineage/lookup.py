"""Resolves an id that a user typed (or its prefix) to the artifact, seed, candidate or sample it means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faq_pipeline.errors import FaqError
from faq_pipeline.lineage.sql import column
from faq_pipeline.lineage.trace import TraceKind

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_IDS: dict[TraceKind, str] = {
    "artifact": "SELECT fingerprint AS id FROM artifacts",
    "seed": "SELECT id FROM seeds UNION SELECT seed_id FROM candidates",
    "candidate": "SELECT id FROM candidates",
    "sample": "SELECT id FROM samples",
}
_SHOWN = 5


def find(con: DuckDBPyConnection, prefix: str) -> tuple[TraceKind, str]:
    """The kind and full id of a fingerprint or id, given whole or as a prefix.

    A whole id wins over longer ones that start with it.

    Raises:
        FaqError: nothing has that id, or more than one thing has that prefix.
    """
    if not prefix:
        raise FaqError("the id is empty", hint="give a fingerprint or an id")
    found = _matching(con, prefix)
    whole = [one for one in found if one[1] == prefix]
    match whole or found:
        case []:
            raise FaqError(
                f"nothing in the lineage index has the id {prefix!r}",
                hint="faq cache ls lists fingerprints; faq lineage rebuild if the index is old",
            )
        case [only]:
            return only
        case several:
            shown = ", ".join(f"{kind} {id_}" for kind, id_ in several[:_SHOWN])
            more = len(several) - _SHOWN
            raise FaqError(
                f"{prefix!r} is ambiguous: {shown}" + (f" and {more} more" if more > 0 else ""),
                hint="give more digits",
            )


def _matching(con: DuckDBPyConnection, prefix: str) -> list[tuple[TraceKind, str]]:
    found: list[tuple[TraceKind, str]] = []
    for kind, ids in _IDS.items():
        sql = f"SELECT DISTINCT id FROM ({ids}) AS ids(id) WHERE starts_with(id, ?) ORDER BY id"
        found += [(kind, id_) for id_ in column(con, sql, prefix)]
    return found
