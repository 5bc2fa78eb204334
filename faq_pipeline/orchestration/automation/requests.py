"""Asking Dagster for the run of a cell, once for everything that the cell declares."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import takewhile

import dagster as dg
from dagster import DagsterRun, DagsterRunStatus, RunRecord, RunsFilter

from faq_pipeline.config.family import Family
from faq_pipeline.core.cell import Cell
from faq_pipeline.orchestration.jobs import QUANTIZE, REQUANTIZE
from faq_pipeline.orchestration.run_tags import k8s_tags
from faq_pipeline.planning.cell_plan import cell_fingerprint

DECLARED = "faq/declared"
"""Tag of a run: the fingerprint of what its cell declares."""
REASON = "faq/reason"
"""Tag of a run: why it was asked for."""
PARTITION = "dagster/partition"
TRIES = 2
"""Failed runs after which a cell is left alone until it declares something else."""
FAILED = {DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED}
LOST = timedelta(hours=1)
"""A run that is not launched so long after it was created never will be: a daemon died in between."""
MOST_KEYS = 500
"""Partitions in one query: databases bound its length."""


def run_request(cell: Cell, reason: str) -> dg.RunRequest:
    """The run that makes a cell, and publishes it where its family says so."""
    declared = cell_fingerprint(cell)
    return dg.RunRequest(
        run_key=f"{cell.partition}:{declared}",
        job_name=job_of(cell.family),
        partition_key=cell.partition,
        tags={DECLARED: declared, REASON: reason, **k8s_tags(cell)},
    )


def job_of(family: Family) -> str:
    """The job that makes a cell of the family."""
    return QUANTIZE if family.publish is None else REQUANTIZE


def asked_before(
    instance: dg.DagsterInstance, cells: Sequence[Cell], tick: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Which of the cells are not to be asked for: by partition, how their last run stands, in words.

    Args:
        tick: tags that tell the runs of the tick that asks. They do not count: a tick that is
            evaluated again after a crash asks for the same, and Dagster finds by their keys which of
            the runs are there.
    """
    found: dict[str, list[RunRecord]] = defaultdict(list)
    for record in records_of(instance, [cell.partition for cell in cells]):
        run = record.dagster_run
        if DECLARED in run.tags and not (tick and tick.items() <= run.tags.items()):
            found[run.tags[PARTITION]].append(record)
    told = {}
    for cell in cells:
        if records := found.get(cell.partition):
            # What it declared in between has taken the place of what it declared before.
            declared = cell_fingerprint(cell)
            alike = takewhile(lambda r: r.dagster_run.tags[DECLARED] == declared, records)  # noqa: B023
            if words := _standing([r.dagster_run for r in alike if not _is_lost(r)]):
                told[cell.partition] = words
    return told


def _standing(runs: Sequence[DagsterRun]) -> str:
    """How the runs stand that were asked for one thing, newest first; empty where another may be."""
    for run in runs:
        if run.status is DagsterRunStatus.SUCCESS:
            return f"its run {run.run_id[:8]} succeeded, and what it made is not here any more"
        if run.status not in FAILED:
            return f"its run {run.run_id[:8]} is {run.status.value.lower().replace('_', ' ')}"
    if len(runs) < TRIES:
        return ""
    return (
        f"{len(runs)} runs failed, the last is {runs[0].run_id[:8]}: left alone until it declares"
        " something else"
    )


def _is_lost(record: RunRecord) -> bool:
    created = record.create_timestamp.replace(tzinfo=record.create_timestamp.tzinfo or UTC)
    waiting = record.dagster_run.status is DagsterRunStatus.NOT_STARTED
    return waiting and datetime.now(UTC) - created > LOST


def records_of(instance: dg.DagsterInstance, partitions: Sequence[str]) -> Iterator[RunRecord]:
    """Runs of the partitions, the newest first for each."""
    for start in range(0, len(partitions), MOST_KEYS):
        keys = list(partitions[start : start + MOST_KEYS])
        yield from instance.get_run_records(filters=RunsFilter(tags={PARTITION: keys}))
