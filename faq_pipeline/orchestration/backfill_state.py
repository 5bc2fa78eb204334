"""The state of a backfill, cell by cell, read from the Dagster instance."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import dagster as dg
from dagster import DagsterRunStatus, RunRecord, RunsFilter

from faq_pipeline.errors import FaqError
from faq_pipeline.orchestration.dagster_internals.run_records import is_retry_undecided
from faq_pipeline.orchestration.run_failures import reason

BACKFILL_TAG, PARTITION_TAG = "dagster/backfill", "dagster/partition"
DAEMONS = ("BACKFILL", "QUEUED_RUN_COORDINATOR")
"""The daemons that a backfill needs: one requests runs, the other starts them."""
ENDED = ("COMPLETED", "COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED")
"""Dagster's final states of a backfill."""
SILENT_AFTER = 90.0
"""Seconds without a heartbeat after which a daemon counts as silent; heartbeats come every 30 s."""


class CellProgress(StrEnum):
    """The state of a cell of a backfill."""

    WAITING = "waiting"
    """The daemon has not requested its run yet."""
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def ended(self) -> bool:
        return self in (CellProgress.DONE, CellProgress.FAILED, CellProgress.CANCELED)


@dataclass(frozen=True)
class CellRun:
    """A cell of a backfill.

    Attributes:
        run: id of its newest run; a run whose process died is retried.
        seconds: time from the start of its first run to its end, or until now.
        made: number of stages that its runs made; the other stages were cache hits.
        now: names of the running stages.
        reason: why it failed; empty otherwise.
    """

    partition: str
    standing: CellProgress
    run: str | None = None
    seconds: float | None = None
    made: int = 0
    now: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class BackfillState:
    """A snapshot of a backfill.

    Attributes:
        status: Dagster's status in lower case, for example `completed_success`.
        over: whether all cells have ended.
        problem: error of the backfill itself; empty if only cells failed.
    """

    id: str
    status: str
    over: bool
    cells: tuple[CellRun, ...]
    problem: str = ""

    def count(self, standing: CellProgress) -> int:
        return sum(cell.standing is standing for cell in self.cells)

    @property
    def complete(self) -> bool:
        """Whether every cell succeeded."""
        return self.count(CellProgress.DONE) == len(self.cells)


def read_backfill(
    instance: dg.DagsterInstance, backfill_id: str, before: BackfillState | None = None
) -> BackfillState:
    """The current state of a backfill.

    Args:
        before: an earlier state; cells that had ended by then are not read again.

    Raises:
        FaqError: there is no backfill with this id.
    """
    backfill = instance.get_backfill(backfill_id)
    if backfill is None:
        raise FaqError(f"no backfill {backfill_id!r}", hint="its id is in the UI, under Runs > Backfills")
    ended, canceled = backfill.status.value in ENDED, backfill.status.value == "CANCELED"
    runs = _runs(instance, backfill_id)
    known = {cell.run: cell for cell in before.cells if cell.standing.ended} if before else {}
    cells = tuple(
        known.get(_newest(runs.get(key, []))) or _cell(instance, key, runs.get(key, []), canceled)
        for key in _partitions(backfill)
    )
    return BackfillState(
        id=backfill_id,
        status=backfill.status.value.lower(),
        # Do not rely on the backfill's own status: the daemon updates it only twice a minute, and marks
        # a job backfill as ended even while a died run is about to be retried.
        over=all(cell.standing.ended or (ended and cell.run is None) for cell in cells),
        cells=cells,
        problem=backfill.error.message.strip() if backfill.error else "",
    )


def daemon_silence(instance: dg.DagsterInstance) -> float | None:
    """Seconds since the last heartbeat of the daemons that a backfill needs.

    Returns:
        None while they are alive, infinity if one has never run.
    """
    beats = instance.get_daemon_heartbeats()
    oldest = min(beats[name].timestamp if name in beats else 0.0 for name in DAEMONS)
    silent = time.time() - oldest if oldest else float("inf")
    return silent if silent > SILENT_AFTER else None


def _partitions(backfill: Any) -> list[str]:
    """The partition keys of the backfill's cells, sorted."""
    if not backfill.is_asset_backfill:
        return sorted(backfill.partition_names or [])
    subsets = backfill.asset_backfill_data.target_subset.partitions_subsets_by_asset_key.values()
    return sorted({key for subset in subsets for key in subset.get_partition_keys()})


def _runs(instance: dg.DagsterInstance, backfill_id: str) -> dict[str, list[RunRecord]]:
    """The runs of each cell, oldest first."""
    found: dict[str, list[RunRecord]] = {}
    tags = {BACKFILL_TAG: backfill_id}
    for record in instance.get_run_records(filters=RunsFilter(tags=tags), ascending=True):
        found.setdefault(record.dagster_run.tags.get(PARTITION_TAG, ""), []).append(record)
    return found


def _newest(runs: list[RunRecord]) -> str | None:
    return runs[-1].dagster_run.run_id if runs else None


def _cell(instance: dg.DagsterInstance, key: str, runs: list[RunRecord], canceled: bool) -> CellRun:
    if not runs:
        return CellRun(key, CellProgress.WAITING)
    run = runs[-1].dagster_run
    standing = _standing(run.status)
    retried = run.is_complete_and_waiting_to_retry or is_retry_undecided(instance, run)
    if standing is CellProgress.FAILED and retried and not canceled:
        standing = CellProgress.QUEUED
    return CellRun(
        partition=key,
        standing=standing,
        run=run.run_id,
        seconds=_seconds(runs, standing),
        made=sum(_made(instance, record) for record in runs) if standing.ended else 0,
        now=_under_way(instance, run.run_id) if standing is CellProgress.RUNNING else (),
        reason=reason(_events(instance, run.run_id)) if standing is CellProgress.FAILED else "",
    )


def _standing(status: DagsterRunStatus) -> CellProgress:
    if status in (DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING):
        return CellProgress.RUNNING
    return {
        DagsterRunStatus.SUCCESS: CellProgress.DONE,
        DagsterRunStatus.FAILURE: CellProgress.FAILED,
        DagsterRunStatus.CANCELED: CellProgress.CANCELED,
    }.get(status, CellProgress.QUEUED)


def _seconds(runs: list[RunRecord], standing: CellProgress) -> float | None:
    started = [record.start_time for record in runs if record.start_time]
    if not started:
        return None
    end = (runs[-1].end_time if standing.ended else None) or time.time()
    return round(end - min(started), 1)


def _under_way(instance: dg.DagsterInstance, run_id: str) -> tuple[str, ...]:
    steps = instance.get_run_step_stats(run_id)
    return tuple(step.step_key for step in steps if step.start_time and not step.end_time)


def _made(instance: dg.DagsterInstance, record: RunRecord) -> int:
    materialized = (
        event.step_materialization_data.materialization
        for event in _events(instance, record.dagster_run.run_id, dg.DagsterEventType.ASSET_MATERIALIZATION)
    )
    return sum(one.metadata["cache"].value == "miss" for one in materialized if "cache" in one.metadata)


def _events(
    instance: dg.DagsterInstance, run_id: str, kind: dg.DagsterEventType | None = None
) -> list[dg.DagsterEvent]:
    entries = instance.all_logs(run_id, of_type=kind)
    return [entry.dagster_event for entry in entries if entry.dagster_event is not None]
