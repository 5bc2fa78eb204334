"""Asking Dagster for the run of a cell, once for everything that the cell declares."""

from __future__ import annotations

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from faq_pipeline.cell import Cell
from faq_pipeline.jobs import QUANTIZE, REQUANTIZE
from faq_pipeline.run_tags import k8s_tags
from faq_pipeline.staleness import cell_fingerprint

DECLARED = "faq/declared"
"""Tag of a run: the fingerprint of what its cell declares."""
REASON = "faq/reason"
"""Tag of a run: why it was asked for."""
TRIES = 2
"""Failed runs after which a cell is left alone until it declares something else."""
FAILED = {DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED}


def run_request(cell: Cell, reason: str) -> dg.RunRequest:
    """The run that makes a cell, and publishes it where its family says so."""
    declared = cell_fingerprint(cell)
    return dg.RunRequest(
        run_key=f"{cell.partition}:{declared}",
        job_name=QUANTIZE if cell.family.publish is None else REQUANTIZE,
        partition_key=cell.partition,
        tags={DECLARED: declared, REASON: reason, **k8s_tags(cell)},
    )


def already_asked(instance: dg.DagsterInstance, cell: Cell) -> bool:
    """Whether the cell, as it is declared now, has a run that is under way or done, or failed too often."""
    runs = instance.get_runs(
        filters=RunsFilter(tags={DECLARED: cell_fingerprint(cell), "dagster/partition": cell.partition})
    )
    return any(run.status not in FAILED for run in runs) or len(runs) >= TRIES
