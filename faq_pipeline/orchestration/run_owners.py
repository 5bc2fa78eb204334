"""Who executes a run: a lock that the executing process holds for as long as the run goes on.

A run that counts as started holds its slots of pools and its place in the queue. When its process is
killed nothing reports that, so somebody else must be able to tell. The lock is the operating system's,
on a file in the instance's storage folder: it is free the moment its holder is gone, however that was
killed, and it is held for others whatever their clock, host name or PID namespace. Every run that a
process with these definitions executes has one (`install_owned_runs`): `faq run`, `dagster asset
materialize`, `dagster job execute`, and the runs of a code server.

The file says who holds it, for those who wait. Its holder deletes it; one that is left was killed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from faq_pipeline.errors import FaqError
from faq_pipeline.util.lock_holder import Holder
from faq_pipeline.util.locks import ProcessLock, is_locked
from faq_pipeline.util.processes import mark_is_dead, own_mark

LIVE = (DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING)
PARTITION = "dagster/partition"
MARK = "faq/process"
"""Tag of a run that `faq` starts in its own process: the run's id and the mark of that process.

A run that re-executes another has its tags; by the id it is known that the mark is of the other one.
"""
GONE = "the process of this run is gone"


class Owner(Enum):
    """What is known of the process that executes a run."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"
    """It has no lock here: of another version or code location, or on a host that shares no files."""


@contextmanager
def owned(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Iterator[None]:
    """Within the block this process is known to execute the run.

    Raises:
        FaqError: the storage folder cannot be written to, or its file system has no locks.
    """
    path = _path(instance, run.run_id)
    lock = ProcessLock(path)
    try:
        lock.acquire()
    except OSError as error:
        raise FaqError(f"the lock of a run cannot be taken: {error.strerror}", file=path) from error
    try:
        with suppress(OSError):  # it is for messages: a full disk must not stop the run
            Holder.this_process(describe(run), run.run_id).write(path)
        yield
    finally:
        if lock.held:  # not in a forked child
            with suppress(OSError):
                path.unlink(missing_ok=True)
            lock.release()


def owner_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Owner:
    """Whether the process that executes the run lives, is gone, or cannot be told of."""
    try:
        return Owner.ALIVE if is_locked(_path(instance, run.run_id)) else Owner.DEAD
    except FileNotFoundError:
        return Owner.DEAD if mark_is_dead(_mark_of(run)) else Owner.UNKNOWN
    except OSError:  # an error is not an absence
        return Owner.UNKNOWN


def mark_tag(run_id: str) -> dict[str, str]:
    """The tag of a run that this process executes."""
    return {MARK: f"{run_id} {own_mark()}"}


def re_executes_marked(run: dg.DagsterRun) -> bool:
    """Whether the run has its tags of another one, which `faq` executed in its own process."""
    return MARK in run.tags and not _is_marked_itself(run)


def _mark_of(run: dg.DagsterRun) -> str:
    """The mark of the run's process; empty if none is known."""
    return run.tags.get(MARK, "").rpartition(" ")[2] if _is_marked_itself(run) else ""


def _is_marked_itself(run: dg.DagsterRun) -> bool:
    run_id, _, _ = run.tags.get(MARK, "").rpartition(" ")
    # Earlier versions wrote no id.
    return run_id == run.run_id if run_id else run.parent_run_id is None


def holder_of(instance: dg.DagsterInstance, run_id: str) -> Holder | None:
    """Who executes the run; None where that is not known."""
    return Holder.read(_path(instance, run_id))


def end_dead_runs(instance: dg.DagsterInstance) -> None:
    """Mark runs whose process is gone as failed, and free their slots.

    Dagster's daemon does this too, but it may not be running.
    """
    # A run that is not started has no lock yet, but may have the mark of `faq run`.
    for run in instance.get_runs(filters=RunsFilter(statuses=[*LIVE, DagsterRunStatus.NOT_STARTED])):
        if run.status is not DagsterRunStatus.NOT_STARTED or MARK in run.tags:
            end_if_dead(instance, run)


def end_if_dead(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Free a run's slots if its process is gone, and mark it as failed unless it has ended.

    Of several processes that find it dead at once, one ends it.

    Returns:
        Whether its slots are free now.
    """
    owner = owner_of(instance, run)
    if owner is Owner.ALIVE or (owner is Owner.UNKNOWN and not run.is_finished):
        return False
    path = _path(instance, run.run_id)
    lock = ProcessLock(path)
    try:
        if not lock.acquire(timeout=0):
            return False
    except OSError:  # another user's folder, say: that user's next command ends it
        return False
    try:
        # Read again: it may have ended by itself before its owner let go.
        now = instance.get_run_by_id(run.run_id)
        if now is not None and not now.is_finished:
            instance.report_run_failed(now, GONE)
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        with suppress(OSError):
            path.unlink(missing_ok=True)
    finally:
        lock.release()
    return True


def _path(instance: dg.DagsterInstance, run_id: str) -> Path:
    return Path(instance.storage_directory()) / "run_owners" / f"{run_id}.lock"


def describe(run: dg.DagsterRun) -> str:
    """The run's job and partition, in words."""
    job = "materialize" if run.job_name.startswith("__") else run.job_name
    return f"{job} of {run.tags[PARTITION]}" if PARTITION in run.tags else job
