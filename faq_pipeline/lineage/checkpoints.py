"""Checkpoints: what they were made from, under which licences, and how they were judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faq_pipeline.core import stage_names
from faq_pipeline.lineage.groups import origins
from faq_pipeline.lineage.sql import column, records, rows
from faq_pipeline.lineage.trace import Licences, MadeCheckpoint, Report
from faq_pipeline.store.tables import CheckpointRow, EvaluationRow

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

CALIBRATION, CHECKPOINT = stage_names.CALIBRATION_SET, stage_names.QUANTIZED_CHECKPOINT


def checkpoints_from(con: DuckDBPyConnection, fingerprints: list[str]) -> list[str]:
    """Checkpoints that descend from any of the artifacts, oldest first."""
    return column(
        con,
        """
        WITH RECURSIVE made(fingerprint) AS (
            SELECT unnest(?)
            UNION SELECT e.child_fingerprint FROM edges e JOIN made m ON m.fingerprint = e.parent_fingerprint
        )
        SELECT a.fingerprint FROM made JOIN artifacts a USING (fingerprint) WHERE a.stage = ?
        ORDER BY a.created, a.fingerprint
        """,
        fingerprints,
        CHECKPOINT,
    )


def made(con: DuckDBPyConnection, fingerprint: str) -> MadeCheckpoint:
    """A checkpoint with its calibration set, cells, licences and evaluations."""
    known = records(con, CheckpointRow, "checkpoints WHERE fingerprint = ?", fingerprint)
    teachers = column(
        con,
        "SELECT DISTINCT model FROM calibration_lineage"
        " WHERE checkpoint_fingerprint = ? AND model IS NOT NULL ORDER BY model",
        fingerprint,
    )
    return MadeCheckpoint(
        fingerprint,
        origins(con, fingerprint).get(CALIBRATION),
        known[0] if known else None,
        cells_of(con, fingerprint),
        tuple(teachers),
        licences_of(con, fingerprint),
        _reports(con, fingerprint),
    )


def licences_of(con: DuckDBPyConnection, checkpoint: str) -> Licences:
    """Licences of the models behind a checkpoint and of its samples' seeds."""
    models = "SELECT DISTINCT {0} FROM cells WHERE fingerprint = ? AND {0} IS NOT NULL ORDER BY ALL"
    seeds: list[tuple[str, int]] = rows(
        con,
        "SELECT coalesce(seed_licence, 'unknown'), count(*) FROM calibration_lineage"
        " WHERE checkpoint_fingerprint = ? GROUP BY ALL ORDER BY ALL",
        checkpoint,
    )
    return Licences(
        tuple(column(con, models.format("base_licence"), checkpoint)),
        tuple(column(con, models.format("teacher_licence"), checkpoint)),
        dict(seeds),
    )


def _reports(con: DuckDBPyConnection, checkpoint: str) -> tuple[Report, ...]:
    found = column(
        con,
        "SELECT DISTINCT report_fingerprint FROM evaluation_lineage WHERE checkpoint_fingerprint = ?"
        " ORDER BY ALL",
        checkpoint,
    )
    figures = "evaluations WHERE fingerprint = ? ORDER BY scope, metric"
    return tuple(Report(one, tuple(records(con, EvaluationRow, figures, one))) for one in found)


def cells_of(con: DuckDBPyConnection, fingerprint: str) -> tuple[str, ...]:
    """Partitions of the cells that used an artifact."""
    sql = 'SELECT DISTINCT "partition" FROM cells WHERE fingerprint = ? ORDER BY ALL'
    return tuple(column(con, sql, fingerprint))
