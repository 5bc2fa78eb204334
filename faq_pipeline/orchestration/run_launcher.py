"""Dagster's default launcher, which can tell besides whether the process of a run is still there.

A run is a process of the code server. When it dies the code server says so; when both are killed at
once, by a power cut or `kill -9` of the whole group, nobody does, and the run would count as running
for ever: it keeps its place in the queue and its slots in the pools, and its backfill never ends.
Dagster's run monitoring asks the launcher, fails such a run, and run retries go on from what it
finished (`dagster.yaml`).
"""

from __future__ import annotations

import json
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import DefaultRunLauncher
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value

from faq_pipeline.util.processes import MARK, is_alive, mark_is_dead

HERE = {"localhost", "127.0.0.1", "::1"}
SECONDS_TO_ANSWER = 10


class WatchedRunLauncher(DefaultRunLauncher):
    """The default launcher for run monitoring.

    A code server on a socket or on this host shares its processes with the daemon, so the run's own
    is looked for: it may well outlive its code server. Any other code server is asked; while it does
    not answer, the run is left alone.
    """

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """NOT_FOUND if the process of a started run is known to be gone, else RUNNING."""
        if self._is_gone(run):
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "the process of this run is gone")
        return CheckRunHealthResult(WorkerStatus.RUNNING)

    def _is_gone(self, run: dg.DagsterRun) -> bool:
        if MARK in run.tags:
            return mark_is_dead(run.tags[MARK])
        if GRPC_INFO_TAG not in run.tags:
            return False  # another program's, in its own process
        server: dict[str, Any] = json.loads(run.tags[GRPC_INFO_TAG])
        if server.get("socket") or server["host"] in HERE:
            return not self._process_is_alive(run)
        return not _has(server, run.run_id)

    def _process_is_alive(self, run: dg.DagsterRun) -> bool:
        """By what the run itself said of its process when it began."""
        for entry in self._instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
            event = entry.dagster_event
            pid = event.engine_event_data.metadata.get("pid") if event and not event.step_key else None
            if pid is not None:
                return is_alive(int(str(pid.value)), entry.timestamp)
        return True  # it has not said yet


def _has(server: dict[str, Any], run_id: str) -> bool:
    """Whether a code server has the run; True while it cannot be asked."""
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
