"""How the steps of a run claim the slots of a pool."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager

import dagster as dg
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._core.executor import in_process, multiprocess

from faq_pipeline.orchestration.slot_waits import SlotWaits

PAUSE = 0.05
"""Seconds between two looks of the executor's loop; events of running steps wait as long at most."""
MOST_BETWEEN_CLAIMS = 2.0
"""Seconds after which the instance is asked for a slot again."""
LOOK = 5.0
"""Seconds between two looks at what a waiting step waits for."""

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
