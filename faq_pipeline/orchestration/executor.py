"""Dagster's multiprocess executor, with an efficient wait for a pool slot.

While no step of a run is running, Dagster's executor polls for a free slot in a loop without a pause, so
a run that waits for the GPU uses a whole core. It also asks the instance less and less often, up to every
15 seconds, and a free GPU stays idle meanwhile. Both problems are in the one method that claims a slot.
"""

from __future__ import annotations

import time
from typing import Any

import dagster as dg
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._core.executor import multiprocess

PAUSE = 0.05
"""Pause of the polling loop in seconds; events of running steps are delayed by at most this time."""
MOST_BETWEEN_CLAIMS = 2.0
"""Maximum number of seconds between two attempts to claim a slot from the instance."""


class PatientConcurrency(InstanceConcurrencyContext):
    """The slot claims of one run; a refused claim sleeps for `PAUSE`."""

    def claim(self, concurrency_key: str, step_key: str, step_priority: int = 0) -> bool:
        """Try to claim a slot of the pool for the step."""
        if super().claim(concurrency_key, step_key, step_priority):
            return True
        soon = time.time() + MOST_BETWEEN_CLAIMS
        self._pending_timeouts[step_key] = min(self._pending_timeouts[step_key], soon)
        time.sleep(PAUSE)
        return False


def patient_executor(config: dict[str, Any]) -> dg.ExecutorDefinition:
    """The multiprocess executor with this configuration.

    Dagster has no public way to replace the class that claims slots, so it is replaced in the module
    from which the executor takes it.
    """
    multiprocess.InstanceConcurrencyContext = PatientConcurrency  # type: ignore[misc]
    return dg.multiprocess_executor.configured(config)
