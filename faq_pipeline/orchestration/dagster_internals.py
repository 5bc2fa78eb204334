"""Dagster's private API, all of it that this package uses.

Dagster may change these without notice: tests/orchestration/test_dagster_internals.py has a test for each
that fails when a new release does.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar

import dagster as dg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from dagster._check import CheckError
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.execution import api, execute_in_process
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._core.executor import in_process, multiprocess
from dagster._core.executor.base import Executor
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.storage import sql
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.noop_compute_log_manager import NoOpComputeLogManager
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.tags import GRPC_INFO_TAG, MAX_RETRIES_TAG, WILL_RETRY_TAG
from sqlalchemy import Engine, create_engine

from faq_pipeline.orchestration.run_owners import owned, re_executes_marked
from faq_pipeline.orchestration.slot_waits import SlotWaits
from faq_pipeline.util.attributes import replaced_attribute
from faq_pipeline.util.parent_watch import exit_with_parent

__all__ = [
    "GRPC_INFO_TAG",
    "NOT_RETRIED",
    "CheckError",
    "CheckRunHealthResult",
    "Executor",
    "SlotClaims",
    "WorkerStatus",
    "code_server_has_run",
    "in_process_executor",
    "install_owned_runs",
    "install_slot_claims",
    "is_retry_undecided",
    "of_code_location",
    "reuse_sqlite_engines",
    "without_compute_logs",
    "without_slots",
]

PAUSE = 0.05
"""Seconds between two looks of the executor's loop; events of running steps wait as long at most."""
MOST_BETWEEN_CLAIMS = 2.0
"""Seconds after which the instance is asked for a slot again."""
LOOK = 5.0
"""Seconds between two looks at what a waiting step waits for."""
SECONDS_TO_ANSWER = 10
"""How long a code server may take to say whether it has a run."""
MOST_ENGINES = 8
"""SQLite databases that stay open: runs, the index of events, and the last runs' own events."""

REPOSITORY_NAME = "__repository__"
"""What Dagster calls the only repository of a code location."""
NOT_RETRIED = {MAX_RETRIES_TAG: "0"}
"""Tags of a run that the daemon does not start again.

A run that re-executes it has them too, until it starts.
"""

Note = Callable[[str], None]

_no_slot: dict[str, Container[str]] = {}
"""Steps that need no slot of a pool, by run id."""
_notes: dict[str, Note] = {}
"""Who is told for whom a run waits, by run id."""


class SlotClaims(InstanceConcurrencyContext):
    """The pool slots of one run, as Dagster's executors claim them.

    Dagster's own class has four faults. While none of a run's steps is running, its executor looks for a
    free slot in a loop without a pause, which takes a whole core. It asks the instance ever more rarely,
    every 15 seconds in the end, while a free GPU stays idle. It waits for ever for a run whose process
    is gone. And it does not say for whom it waits. All are in `claim`.
    """

    def __init__(self, instance: dg.DagsterInstance, dagster_run: dg.DagsterRun) -> None:
        super().__init__(instance, dagster_run)
        note = _notes.get(self._run_id, dg.get_dagster_logger().info)
        self._waits = SlotWaits(instance, self._run_id, note)
        self._next_look: dict[str, float] = {}

    def claim(self, concurrency_key: str, step_key: str, step_priority: int = 0) -> bool:
        """Whether the step has a slot of the pool now, or needs none."""
        look = time.monotonic() >= self._next_look.get(step_key, 0.0)
        # Asked again while it waits: another run may have made the artifact meanwhile.
        if look and step_key in _no_slot.get(self._run_id, ()):
            self._withdraw(step_key)
            self._waits.over(concurrency_key)
            return True
        if super().claim(concurrency_key, step_key, step_priority):
            self._waits.over(concurrency_key)
            return True
        soon = time.time() + MOST_BETWEEN_CLAIMS
        if look:
            self._next_look[step_key] = time.monotonic() + LOOK
            if self._waits.look(concurrency_key):
                soon = time.time()
        self._pending_timeouts[step_key] = min(self._pending_timeouts[step_key], soon)
        time.sleep(PAUSE)
        return False

    def _withdraw(self, step_key: str) -> None:
        if step_key in self._pending_claims:
            self._instance.event_log_storage.free_concurrency_slot_for_step(self._run_id, step_key)
            self._pending_claims.remove(step_key)
            self._pending_timeouts.pop(step_key, None)


def install_slot_claims() -> None:
    """Let Dagster's executors use `SlotClaims`.

    Dagster has no option for it: the class is replaced where the executors look it up.
    """
    for module in (multiprocess, in_process):
        setattr(module, "InstanceConcurrencyContext", SlotClaims)  # noqa: B010 - not exported for mypy


@contextmanager
def without_slots(run_id: str, steps: Container[str], note: Note | None = None) -> Iterator[None]:
    """Within the block these steps of the run need no slot of a pool (see `install_slot_claims`).

    Args:
        steps: asked for a step before it claims a slot, and now and then while it waits.
        note: is told for whom the run waits; by default Dagster's log is.
    """
    _no_slot[run_id] = steps
    if note is not None:
        _notes[run_id] = note
    try:
        yield
    finally:
        del _no_slot[run_id]
        _notes.pop(run_id, None)


class WatchedStep(multiprocess.MultiprocessExecutorChildProcessCommand):
    """What a step's process executes: it ends as soon as the process of its run has, also by SIGKILL.

    Otherwise it would go on, with its GPU, while the run counts as failed and is run again.
    """

    def execute(self) -> Iterator[dg.DagsterEvent]:
        """The events of the step."""
        exit_with_parent()
        yield from super().execute()


def install_owned_runs() -> None:
    """Let every run that this process executes have an owner, and its steps' processes end with it.

    Dagster has no option for it: the function that executes a run, before it counts as started, is
    replaced where Dagster looks it up, and so is the class of a step's process.
    """
    for module in (api, execute_in_process):
        setattr(module, "job_execution_iterator", _owned_execution)  # noqa: B010 - as above
    setattr(multiprocess, "MultiprocessExecutorChildProcessCommand", WatchedStep)  # noqa: B010


_execution = api.job_execution_iterator


def _owned_execution(job_context: Any, execution_plan: Any) -> Iterator[dg.DagsterEvent]:
    instance, run = job_context.instance, job_context.dagster_run
    with owned(instance, run):
        if re_executes_marked(run):
            # It is the daemon's run now, and has `NOT_RETRIED` of the run that it re-executes.
            instance.add_run_tags(run.run_id, {MAX_RETRIES_TAG: str(instance.run_retries_max_retries)})
        yield from _execution(job_context, execution_plan)


def in_process_executor(like: Executor) -> Executor:
    """An executor that runs every step in this process, with the retries of another executor."""
    return in_process.InProcessExecutor(
        retries=like.retries, step_dependency_config=like.step_dependency_config
    )


@contextmanager
def without_compute_logs(instance: dg.DagsterInstance) -> Iterator[None]:
    """Within the block runs of the instance do not copy this process's output into Dagster's storage.

    Four processes do that for each run.
    """
    with replaced_attribute(instance, "_compute_log_manager", NoOpComputeLogManager()):
        yield


@contextmanager
def of_code_location(instance: dg.DagsterInstance, location: str, job: str) -> Iterator[None]:
    """Within the block new runs of the instance are the job's of a code location.

    A run that `execute_in_process` makes has no origin, and the UI shows a run without one neither in the
    Timeline nor under its job. With one, the daemon could also retry it; see `NOT_RETRIED`.
    """
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), REPOSITORY_NAME)
    create = partial(instance.create_run_for_job, remote_job_origin=RemoteJobOrigin(repository, job))
    with replaced_attribute(instance, "create_run_for_job", create):
        yield


def reuse_sqlite_engines() -> None:
    """Let Dagster's SQLite storages keep their databases open.

    Dagster makes a new SQLAlchemy engine for each query: it compiles the statement anew, opens the file,
    and on closing it writes the log back into the database. That is most of what a run of hits costs.
    """
    for module in (sqlite_event_log, sqlite_run_storage):
        module.create_engine = _engines.get  # type: ignore[attr-defined]
    # Each run's events are a new database, for which Dagster reads all its migrations twice.
    sql.ScriptDirectory = command.ScriptDirectory = _Migrations  # type: ignore[misc]


class _Migrations(ScriptDirectory):
    """Alembic's migrations of a storage, read once."""

    _known: ClassVar[dict[str | None, ScriptDirectory]] = {}

    @classmethod
    def from_config(cls, config: Config) -> ScriptDirectory:
        place = config.get_main_option("script_location")
        if place not in cls._known:
            cls._known[place] = ScriptDirectory.from_config(config)
        return cls._known[place]


class _Engines:
    """SQLAlchemy engines by database file, those used last."""

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[Any, ...], Engine] = OrderedDict()
        self._lock = Lock()

    def get(self, url: str, poolclass: object = None, **options: Any) -> Engine:
        """As `sqlalchemy.create_engine`; `poolclass`, which keeps nothing open, is left out."""
        try:
            file = Path(url.removeprefix("sqlite:///")).stat()
        except FileNotFoundError:  # made by the first query; the next one asks again
            return create_engine(url, **options)
        key = (os.getpid(), url, file.st_dev, file.st_ino)
        with self._lock:
            if key not in self._open:
                self._open[key] = _undisposable(create_engine(url, **options))
            self._open.move_to_end(key)
            while len(self._open) > MOST_ENGINES:
                Engine.dispose(self._open.popitem(last=False)[1])
            return self._open[key]


def _undisposable(engine: Engine) -> Engine:
    """The engine, whose pool survives the `dispose` with which Dagster ends each query."""
    engine.dispose = lambda close=True: None  # type: ignore[method-assign]
    return engine


_engines = _Engines()


def code_server_has_run(server: dict[str, Any], run_id: str) -> bool:
    """Whether a code server has the run; True while it cannot be asked."""
    # These load gRPC, which no step needs.
    from dagster._grpc.client import DagsterGrpcClient
    from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
    from dagster._serdes import deserialize_value

    client = DagsterGrpcClient(
        host=server["host"], port=server["port"], use_ssl=bool(server.get("use_ssl", False))
    )
    try:
        answer = client.can_cancel_execution(
            CanCancelExecutionRequest(run_id=run_id), timeout=SECONDS_TO_ANSWER
        )
    except DagsterUserCodeUnreachableError:
        return True
    return deserialize_value(answer, CanCancelExecutionResult).can_cancel


def is_retry_undecided(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether a run has failed and Dagster has not said yet whether it is retried.

    Dagster stores the status first and the tag after it; between the two a run that will be retried looks
    as if it had failed for good.
    """
    failed = run.status is dg.DagsterRunStatus.FAILURE
    return failed and instance.run_retries_enabled and WILL_RETRY_TAG not in run.tags
