"""Dagster's default run launcher, extended with a check whether the process of a run is alive.

A run is a process of the code server. If it dies, the code server reports that. If both are killed at
once, by a power cut or `kill -9` of the whole group, nothing reports it. The run would count as running
forever: it would keep its place in the queue and its pool slots, and its backfill would never end. With
this check, Dagster's run monitoring marks such a run as failed, and a run retry continues from its
finished stages (see `dagster.yaml`).
"""

from __future__ import annotations

import json
from typing import Any

import dagster as dg

from faq_pipeline.orchestration.dagster_internals.run_health import (
    GRPC_INFO_TAG,
    CheckRunHealthResult,
    WorkerStatus,
    code_server_has_run,
)
from faq_pipeline.orchestration.run_owners import GONE, Owner, owner_of
from faq_pipeline.util.processes import number_in_use

HERE = {"localhost", "127.0.0.1", "::1"}


class WatchedRunLauncher(dg.DefaultRunLauncher):
    """The default launcher with support for run monitoring.

    The lock of the run's owner decides (`run_owners`). A run without one was started by an earlier
    version or another code location, or its host shares no files with this one. If its code server uses
    a socket or runs on this host, the launcher looks for the number of the run's process, which may
    outlive the code server. Any other code server is asked about the run; while it does not answer, the
    run counts as alive.
    """

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """NOT_FOUND if the process of a started run is known to be gone, otherwise RUNNING."""
        if self._is_gone(run):
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, GONE)
        return CheckRunHealthResult(WorkerStatus.RUNNING)

    def _is_gone(self, run: dg.DagsterRun) -> bool:
        owner = owner_of(self._instance, run)
        if owner is not Owner.UNKNOWN:
            return owner is Owner.DEAD
        if GRPC_INFO_TAG not in run.tags:
            return False  # run by another program in its own process
        server: dict[str, Any] = json.loads(run.tags[GRPC_INFO_TAG])
        if server.get("socket") or server["host"] in HERE:
            return not self._process_is_alive(run)
        return not code_server_has_run(server, run.run_id)

    def _process_is_alive(self, run: dg.DagsterRun) -> bool:
        """Check the process id that the run logged when it started."""
        for entry in self._instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
            event = entry.dagster_event
            pid = event.engine_event_data.metadata.get("pid") if event and not event.step_key else None
            if pid is not None:
                return number_in_use(int(str(pid.value)))
        return True  # the run has not logged its process id yet
