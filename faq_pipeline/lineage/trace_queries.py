"""`trace`: what an artifact or sample was made from, and what was made from it, read from the index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from faq_pipeline.core import stage_names
from faq_pipeline.errors import FaqError
from faq_pipeline.lineage import schema
from faq_pipeline.lineage.checkpoints import (
    CALIBRATION,
    CHECKPOINT,
    cells_of,
    checkpoints_from,
    made,
)
from faq_pipeline.lineage.connection import reading
from faq_pipeline.lineage.groups import groups_of_seed, origins, traced_samples
from faq_pipeline.lineage.lookup import find
from faq_pipeline.lineage.sql import column, rows
from faq_pipeline.lineage.trace import (
    ArtifactSummary,
    LineageTrace,
    Neighbour,
    TracedGroup,
    TracedSample,
    TraceKind,
)

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

REPORT = stage_names.EVAL_REPORT


def trace(source: Path | str | DuckDBPyConnection, id_prefix: str) -> LineageTrace:
    """Ancestors and descendants of an artifact, seed, candidate or sample.

    Args:
        source: the index's file, or an open connection to it.
        id_prefix: a fingerprint or id, whole or its first digits.

    Raises:
        FaqError: an unknown or ambiguous id, or an index that cannot be read now.
    """
    with reading(source) as con:
        _check_version(con)
        kind, id_ = find(con, id_prefix)
        return _trace_artifact(con, id_) if kind == "artifact" else _trace_row(con, kind, id_)


def _trace_artifact(con: DuckDBPyConnection, fingerprint: str) -> LineageTrace:
    artifact = _summary(con, fingerprint)
    if artifact.stage == REPORT:
        parent = origins(con, [fingerprint])[fingerprint].get(CHECKPOINT)
        fingerprints = [parent] if parent else []
    elif artifact.stage == CHECKPOINT:
        fingerprints = [fingerprint]
    else:
        fingerprints = checkpoints_from(con, [fingerprint])
    checkpoints = made(con, fingerprints)
    calibrations: list[str] = []
    if artifact.stage == CALIBRATION:
        calibrations = [fingerprint]
    elif artifact.stage in (CHECKPOINT, REPORT):
        calibrations = [c.calibration_fingerprint for c in checkpoints if c.calibration_fingerprint]
    samples = traced_samples(con, dict.fromkeys(calibrations))
    return LineageTrace("artifact", fingerprint, artifact, checkpoints, tuple(samples), ())


def _trace_row(con: DuckDBPyConnection, kind: TraceKind, id_: str) -> LineageTrace:
    key = {"seed": "seed_id", "candidate": "candidate_id", "sample": "id"}[kind]
    sets = rows(
        con, f"SELECT fingerprint, list(id) FROM samples WHERE {key} = ? GROUP BY ALL ORDER BY 1", id_
    )
    samples = traced_samples(con, dict(sets))
    checkpoints = checkpoints_from(con, [fingerprint for fingerprint, _ in sets])
    return LineageTrace(
        kind,
        id_,
        None,
        made(con, checkpoints),
        tuple(samples),
        tuple(_groups(con, kind, id_, samples)),
    )


def _groups(
    con: DuckDBPyConnection, kind: TraceKind, id_: str, samples: list[TracedSample]
) -> list[TracedGroup]:
    if kind == "seed":
        return groups_of_seed(con, id_)
    candidate = id_ if kind == "candidate" else samples[0].sample.candidate_id
    seeds = column(con, "SELECT DISTINCT seed_id FROM candidates WHERE id = ? ORDER BY ALL", candidate)
    groups = [group for seed in seeds for group in groups_of_seed(con, seed)]
    return [g for g in groups if any(c.candidate.id == candidate for c in g.candidates)]


def _summary(con: DuckDBPyConnection, fingerprint: str) -> ArtifactSummary:
    ((stage, stage_version, digest, created, seconds),) = rows(
        con,
        "SELECT stage, stage_version, digest, strftime(created, '%Y-%m-%dT%H:%M:%SZ'), seconds"
        " FROM artifacts WHERE fingerprint = ?",
        fingerprint,
    )
    children = rows(
        con,
        "SELECT a.stage, a.fingerprint FROM edges e"
        " JOIN artifacts a ON a.fingerprint = e.child_fingerprint"
        " WHERE e.parent_fingerprint = ? ORDER BY ALL",
        fingerprint,
    )
    return ArtifactSummary(
        fingerprint,
        stage,
        stage_version,
        digest,
        created,
        seconds,
        cells_of(con, [fingerprint])[fingerprint],
        tuple(sorted(Neighbour(*one) for one in origins(con, [fingerprint])[fingerprint].items())),
        tuple(Neighbour(*one) for one in children),
    )


def _check_version(con: DuckDBPyConnection) -> None:
    if schema.version(con) != schema.SCHEMA_VERSION:
        raise FaqError("the lineage index is of another version of faq_pipeline", hint="faq lineage rebuild")
