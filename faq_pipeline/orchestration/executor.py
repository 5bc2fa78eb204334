"""Dagster's multiprocess executor, with a wait for a pool's slot that costs nothing.

While none of a run's steps is under way, Dagster's executor looks for a free slot in a loop without a
pause, so that a run that waits for the GPU takes a whole core; and it asks the instance ever more
rarely, every 15 seconds in the end, during which a free GPU stays idle. Both are in the one method
that claims a slot.
"""

from __future__ import annotations

import time
from typing import Any

import dagster as dg
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._core.executor import multiprocess

PAUSE = 0.05
"""Seconds between two looks of the loop; events of steps under way wait as long at most."""
MOST_BETWEEN_CLAIMS = 2.0
"""Seconds after which the instance is asked for a slot again."""


class PatientConcurrency(InstanceConcurrencyContext):
    """Claims of one run; one that is refused takes a moment."""

    def claim(self, concurrency_key: str, step_key: str, step_priority: int = 0) -> bool:
        """Whether the step has a slot of the pool now."""
        if super().claim(concurrency_key, step_key, step_priority):
            return True
        soon = time.time() + MOST_BETWEEN_CLAIMS
        self._pending_timeouts[step_key] = min(self._pending_timeouts[step_key], soon)
        time.sleep(PAUSE)
        return False


def patient_executor(config: dict[str, Any]) -> dg.ExecutorDefinition:
    """The multiprocess executor with this configuration.

    Dagster offers no place to hand it other claims, so they are put where its executor looks for them.
    """
    multiprocess.InstanceConcurrencyContext = PatientConcurrency  # type: ignore[misc]
    return dg.multiprocess_executor.configured(config)
