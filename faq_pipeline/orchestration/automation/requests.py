"""Request the run of a cell from Dagster, once for each state of what the cell declares."""

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
from faq_pipeline.orchestration.tags import k8s_tags
from faq_pipeline.planning.cell_plan import cell_fingerprint

DECLARED = "faq/declared"
"""Run tag: the fingerprint of what its cell declares."""
REASON = "faq/reason"
"""Run tag: why the run was requested."""
PARTITION = "dagster/partition"
TRIES = 2
"""Number of failed runs after which a cell is not requested again until its declaration changes."""
FAILED = {DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED}
LOST = timedelta(hours=1)
"""A run not launched this long after its creation counts as lost: the daemon died in between."""
MOST_KEYS = 500
"""Maximum number of partitions in one query; databases limit its length."""


def run_request(cell: Cell, reason: str) -> dg.RunRequest:
    """A request for the run that makes a cell and, if its family publishes, publishes it."""
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
    """The cells that must not be requested, by partition, with the state of their last run in words.

    Args:
        tick: tags that identify the runs of the requesting tick. These runs do not count: a tick that
            is evaluated again after a crash makes the same requests, and Dagster finds the existing
            runs by their run keys.
    """
    found: dict[str, list[RunRecord]] = defaultdict(list)
    for record in records_of(instance, [cell.partition for cell in cells]):
        run = record.dagster_run
        if DECLARED in run.tags and not (tick and tick.items() <= run.tags.items()):
            found[run.tags[PARTITION]].append(record)
    states = {}
    for cell in cells:
        if records := found.get(cell.partition):
            # Only the newest runs count: after another declaration in between, the cell is requested again.
            declared = cell_fingerprint(cell)
            alike = takewhile(lambda r: r.dagster_run.tags[DECLARED] == declared, records)  # noqa: B023
            if state := _runs_state([r.dagster_run for r in alike if not _is_lost(r)]):
                states[cell.partition] = state
    return states


def _runs_state(runs: Sequence[DagsterRun]) -> str:
    """The state of the runs of one declaration, newest first; empty if another run may be requested."""
    for run in runs:
        if run.status is DagsterRunStatus.SUCCESS:
            return f"its run {run.run_id[:8]} succeeded, but its artifacts are missing now"
        if run.status not in FAILED:
            return f"its run {run.run_id[:8]} is {run.status.value.lower().replace('_', ' ')}"
    if len(runs) < TRIES:
        return ""
    return (
        f"{len(runs)} runs failed, the last is {runs[0].run_id[:8]}: not requested again until its"
        " recipe, models or tools change"
    )


def _is_lost(record: RunRecord) -> bool:
    created = record.create_timestamp.replace(tzinfo=record.create_timestamp.tzinfo or UTC)
    waiting = record.dagster_run.status is DagsterRunStatus.NOT_STARTED
    return waiting and datetime.now(UTC) - created > LOST


def records_of(instance: dg.DagsterInstance, partitions: Sequence[str]) -> Iterator[RunRecord]:
    """The runs of the partitions, newest first for each partition."""
    for start in range(0, len(partitions), MOST_KEYS):
        keys = list(partitions[start : start + MOST_KEYS])
        yield from instance.get_run_records(filters=RunsFilter(tags={PARTITION: keys}))
