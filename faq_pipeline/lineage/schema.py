"""Tables and views of the index. docs/LINEAGE.md describes them for those who ask in SQL."""

from __future__ import annotations

import re
import typing
from dataclasses import fields
from typing import TYPE_CHECKING

from faq_pipeline.store.records import TABLES

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SCHEMA_VERSION = 1
"""Raise it when tables, views or records change: an index of another version is rebuilt."""

_OWN_TABLES = """
CREATE TABLE schema_version (version INTEGER);
CREATE TABLE indexed (fingerprint VARCHAR, stamp BIGINT, problem VARCHAR);
CREATE TABLE artifacts (
    fingerprint VARCHAR, stage VARCHAR, stage_version INTEGER, digest VARCHAR,
    created TIMESTAMP, seconds DOUBLE, path VARCHAR, identity JSON, metadata JSON);
CREATE TABLE inputs (fingerprint VARCHAR, stage VARCHAR, digest VARCHAR, made_from VARCHAR);
CREATE TABLE cells (
    fingerprint VARCHAR, stage VARCHAR, "partition" VARCHAR, member VARCHAR, recipe VARCHAR,
    used TIMESTAMP, current BOOLEAN, base_licence VARCHAR, teacher_licence VARCHAR);
"""
# `indexed` is for the merge itself: which artifacts were read, from which manifest, and what was wrong.
# No table has a key: the one writer enters each artifact once, and a key's own blocks could be damaged
# without any query noticing.

OWN_TABLES = ("indexed", "artifacts", "inputs", "cells")

_VIEWS = """
-- Every artifact whose bytes are an input of another; equal bytes count, whoever made them.
CREATE VIEW edges AS
SELECT a.fingerprint AS parent_fingerprint, i.fingerprint AS child_fingerprint,
       a.fingerprint = i.made_from AS made_from
FROM inputs i JOIN artifacts a ON a.stage = i.stage AND a.digest = i.digest;

-- One parent a stage: the one it was made from, or, if that is gone, its equal.
CREATE VIEW origins AS
SELECT e.child_fingerprint, a.stage AS parent_stage,
       first(e.parent_fingerprint ORDER BY e.made_from DESC, e.parent_fingerprint)
           AS parent_fingerprint
FROM edges e JOIN artifacts a ON a.fingerprint = e.parent_fingerprint
GROUP BY ALL;

CREATE VIEW groups AS
SELECT st.fingerprint AS scores_fingerprint, o.parent_fingerprint AS corpus_fingerprint,
       st.seed_id, st.candidate_id, c."position", c.source, c.model, c.reasoning, c.answer,
       c.tokens, c.finish, st.total, st.place, st.winner
FROM standings st
LEFT JOIN origins o ON o.child_fingerprint = st.fingerprint
                   AND o.parent_stage = 'regenerated_corpus'
LEFT JOIN candidates c ON c.fingerprint = o.parent_fingerprint AND c.id = st.candidate_id;

CREATE VIEW winners AS SELECT * EXCLUDE (winner) FROM groups WHERE winner;
CREATE VIEW losers AS SELECT * EXCLUDE (winner) FROM groups WHERE NOT winner;

-- One row a calibration sample and checkpoint made from it.
CREATE VIEW calibration_lineage AS
SELECT ck.child_fingerprint AS checkpoint_fingerprint, s.fingerprint AS calibration_fingerprint,
       s.id AS sample_id, s."row", s."start", s.tokens, s.domain, s.candidate_id, s.seed_id,
       w.source, w.model, w.total, w.place,
       sd.text AS seed_text, sd.kind AS seed_kind, sd.source AS seed_source,
       sd.licence AS seed_licence
FROM samples s
LEFT JOIN origins ck ON ck.parent_fingerprint = s.fingerprint
                    AND ck.parent_stage = 'calibration_set'
LEFT JOIN origins so ON so.child_fingerprint = s.fingerprint
                    AND so.parent_stage = 'competition_scores'
LEFT JOIN groups w ON w.scores_fingerprint = so.parent_fingerprint
                      AND w.candidate_id = s.candidate_id
LEFT JOIN origins sdo ON sdo.child_fingerprint = s.fingerprint
                     AND sdo.parent_stage = 'seed_data'
LEFT JOIN seeds sd ON sd.fingerprint = sdo.parent_fingerprint AND sd.id = s.seed_id;

-- Every figure of a report, beside each checkpoint of the bytes that it judges, and its reference.
CREATE VIEW evaluation_lineage AS
SELECT ck.parent_fingerprint AS checkpoint_fingerprint, ev.fingerprint AS report_fingerprint,
       rf.parent_fingerprint AS reference_fingerprint, ev.* EXCLUDE (fingerprint)
FROM evaluations ev
JOIN edges ck ON ck.child_fingerprint = ev.fingerprint
JOIN artifacts ca ON ca.fingerprint = ck.parent_fingerprint AND ca.stage = 'quantized_checkpoint'
LEFT JOIN origins rf ON rf.child_fingerprint = ev.fingerprint
                    AND rf.parent_stage = 'reference_eval';
"""

_TYPES: dict[object, str] = {str: "VARCHAR", int: "BIGINT", float: "DOUBLE", bool: "BOOLEAN"}


def create(con: DuckDBPyConnection) -> None:
    """Make all tables and views in an empty database."""
    con.execute(_OWN_TABLES)
    for table, record in TABLES.items():
        columns = ", ".join(f'"{name}" {_type(hint)}' for name, hint in _hints(record))
        con.execute(f"CREATE TABLE {table} (fingerprint VARCHAR, {columns})")
    con.execute(_VIEWS)
    con.execute("INSERT INTO schema_version VALUES (?)", [SCHEMA_VERSION])


def version(con: DuckDBPyConnection) -> int | None:
    """The schema version of a database; None for an empty one, -1 for one that is no index."""
    tables = {name for (name,) in con.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    if not tables:
        return None
    if "schema_version" not in tables:
        return -1
    row = con.execute("SELECT max(version) FROM schema_version").fetchone()
    return -1 if row is None or row[0] is None else int(row[0])


def read_everything(con: DuckDBPyConnection) -> None:
    """Read every value of every table: DuckDB looks at a block's checksum when it reads the block.

    Raises:
        duckdb.Error: something cannot be read, or a table or view is missing.
    """
    for table in (*OWN_TABLES, *TABLES):
        con.execute(f"SELECT bit_xor(hash(COLUMNS(*))) FROM {table}").fetchall()
    for view in re.findall(r"CREATE VIEW (\w+)", _VIEWS):
        con.execute(f"FROM {view} LIMIT 0").fetchall()


def columns_of(record: type) -> list[str]:
    """Column names of a record's table, without the fingerprint."""
    return [column.name for column in fields(record)]


def _hints(record: type) -> list[tuple[str, object]]:
    hints = typing.get_type_hints(record)
    return [(name, hints[name]) for name in columns_of(record)]


def _type(hint: object) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return "VARCHAR"
    kinds = [kind for kind in (typing.get_args(hint) or (hint,)) if kind is not type(None)]
    return _TYPES[kinds[0]]
