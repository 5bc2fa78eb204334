"""Checkpoints: what they were made from, under which licences, and how they were judged."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from faq_pipeline.core import stage_names
from faq_pipeline.lineage.groups import origins
from faq_pipeline.lineage.sql import AMONG, column, records_by_artifact, rows
from faq_pipeline.lineage.trace import Licences, MadeCheckpoint, Report
from faq_pipeline.store.records import CheckpointRow, EvaluationRow

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


def made(con: DuckDBPyConnection, fingerprints: list[str]) -> tuple[MadeCheckpoint, ...]:
    """Checkpoints with their calibration sets, cells, licences and evaluations, in the order given."""
    parents = origins(con, fingerprints)
    sources = {one: parents[one].get(CALIBRATION) for one in fingerprints}
    teachers, seeds = _behind(con, [one for one in sources.values() if one is not None])
    among = f"checkpoints WHERE fingerprint {AMONG}"
    rows_of = dict(records_by_artifact(con, CheckpointRow, among, fingerprints))
    cells = cells_of(con, fingerprints)
    base, teacher = (_licences(con, f"{model}_licence", fingerprints) for model in ("base", "teacher"))
    reports = _reports(con, fingerprints)
    return tuple(
        MadeCheckpoint(
            one,
            calibration,
            rows_of.get(one),
            cells[one],
            tuple(teachers[calibration]),
            Licences(tuple(base[one]), tuple(teacher[one]), dict(seeds[calibration])),
            tuple(reports[one]),
        )
        for one, calibration in sources.items()
    )


def cells_of(con: DuckDBPyConnection, fingerprints: list[str]) -> defaultdict[str, tuple[str, ...]]:
    """Partitions of the cells that used artifacts, by artifact."""
    sql = f'SELECT DISTINCT fingerprint, "partition" FROM cells WHERE fingerprint {AMONG} ORDER BY ALL'
    found: defaultdict[str, tuple[str, ...]] = defaultdict(tuple)
    for fingerprint, partition in rows(con, sql, fingerprints):
        found[fingerprint] += (partition,)
    return found


def _behind(
    con: DuckDBPyConnection, calibrations: list[str]
) -> tuple[defaultdict[str | None, list[str]], defaultdict[str | None, list[tuple[str, int]]]]:
    """Models that wrote samples of calibration sets, and licences of their seeds with counts, by set."""
    parents = origins(con, calibrations)
    scores = [parents[one].get(stage_names.COMPETITION_SCORES) for one in calibrations]
    judged = origins(con, scores)
    corpora = [judged[one].get(stage_names.REGENERATED_CORPUS) for one in scores]
    seeds = [parents[one].get(stage_names.SEED_DATA) for one in calibrations]
    known = """
        WITH known AS MATERIALIZED (
            SELECT unnest(CAST(? AS VARCHAR[])) AS fingerprint, unnest(CAST(? AS VARCHAR[])) AS scores,
                   unnest(CAST(? AS VARCHAR[])) AS corpus, unnest(CAST(? AS VARCHAR[])) AS seeds)
    """
    given = (calibrations, scores, corpora, seeds)
    models: defaultdict[str | None, list[str]] = defaultdict(list)
    written = """
        SELECT DISTINCT k.fingerprint, c.model
        FROM known k JOIN samples s USING (fingerprint)
        JOIN standings st ON st.fingerprint = k.scores AND st.candidate_id = s.candidate_id
        JOIN candidates c ON c.fingerprint = k.corpus AND c.id = s.candidate_id
        WHERE c.model IS NOT NULL ORDER BY ALL
    """
    for calibration, model in rows(con, known + written, *given):
        models[calibration].append(model)
    licences: defaultdict[str | None, list[tuple[str, int]]] = defaultdict(list)
    licensed = """
        SELECT k.fingerprint, coalesce(sd.licence, 'unknown'), count(*)
        FROM known k JOIN samples s USING (fingerprint)
        LEFT JOIN seeds sd ON sd.fingerprint = k.seeds AND sd.id = s.seed_id
        GROUP BY ALL ORDER BY ALL
    """
    for calibration, licence, count in rows(con, known + licensed, *given):
        licences[calibration].append((licence, count))
    return models, licences


def _licences(con: DuckDBPyConnection, column: str, fingerprints: list[str]) -> defaultdict[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    sql = f"SELECT DISTINCT fingerprint, {column} FROM cells WHERE fingerprint {AMONG}"
    for fingerprint, licence in rows(con, f"{sql} AND {column} IS NOT NULL ORDER BY ALL", fingerprints):
        found[fingerprint].append(licence)
    return found


def _reports(con: DuckDBPyConnection, fingerprints: list[str]) -> defaultdict[str, list[Report]]:
    pairs = rows(
        con,
        "SELECT DISTINCT checkpoint_fingerprint, report_fingerprint FROM evaluation_lineage"
        f" WHERE checkpoint_fingerprint {AMONG} ORDER BY ALL",
        fingerprints,
    )
    figures: defaultdict[str, list[EvaluationRow]] = defaultdict(list)
    among = f"evaluations WHERE fingerprint {AMONG} ORDER BY scope, metric"
    for report, figure in records_by_artifact(con, EvaluationRow, among, sorted({one for _, one in pairs})):
        figures[report].append(figure)
    found: defaultdict[str, list[Report]] = defaultdict(list)
    for checkpoint, report in pairs:
        found[checkpoint].append(Report(report, tuple(figures[report])))
    return found
