"""For whom a run waits at a pool: told at once and then every minute, and freed where its process is gone."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from faq_pipeline.orchestration.run_owners import describe, end_if_dead, holder_of

TELL = 60.0
"""Seconds after which a run that still waits tells again for whom."""


class SlotWaits:
    """The waits of one run for slots of pools.

    Args:
        note: is told for whom it waits.
    """

    def __init__(self, instance: dg.DagsterInstance, run_id: str, note: Callable[[str], None]) -> None:
        self._instance, self._run_id, self._note = instance, run_id, note
        self._next_note: dict[str, float] = {}

    def look(self, pool: str) -> bool:
        """Free the slots of runs whose process is gone, or tell which runs hold them.

        Returns:
            Whether a slot was freed.
        """
        info = self._instance.event_log_storage.get_concurrency_info(pool)
        known = {one.run_id for one in info.claimed_slots} | {one.run_id for one in info.pending_steps}
        others = known - {self._run_id}
        freed = [run_id for run_id in others if self._free(run_id)]
        if (
            not freed
            and time.monotonic() >= self._next_note.get(pool, 0.0)
            and (text := self._text(pool, info))
        ):
            self._next_note[pool] = time.monotonic() + TELL
            self._note(text)
        return bool(freed)

    def over(self, pool: str) -> None:
        """The run has a slot of the pool, or needs none: the next wait is told at once."""
        self._next_note.pop(pool, None)

    def _free(self, run_id: str) -> bool:
        run = self._instance.get_run_by_id(run_id)
        if run is not None:
            return end_if_dead(self._instance, run)
        self._instance.event_log_storage.free_concurrency_slots_for_run(run_id)  # a deleted run's
        return True

    def _text(self, pool: str, info: Any) -> str:
        """One line; empty where only steps of this run have slots."""
        if not info.slot_count:
            return f"waits: pool {pool} has no slots (dagster instance concurrency set {pool} 1)"
        since = {(one.run_id, one.step_key): one.assigned_timestamp for one in info.pending_steps}
        slots = [(one.run_id, one.step_key) for one in info.claimed_slots]
        taken = [key for key in slots if key[0] != self._run_id]
        if taken:
            held = " or ".join(self._holder(*key, since.get(key)) for key in taken)
            return f"waits for a slot of pool {pool}, held by {held}"
        next_ones = [key for key, when in since.items() if when is not None and key[0] != self._run_id]
        if next_ones and not slots:
            ahead = " and ".join(self._holder(*key, since[key]) for key in next_ones)
            return f"waits for a slot of pool {pool}; next is {ahead}"
        return ""

    def _holder(self, run_id: str, step: str, since: datetime | None) -> str:
        """Who has a slot: its process, run and step, and since when."""
        when = "" if since is None else since.astimezone(UTC).isoformat(timespec="seconds")
        holder = holder_of(self._instance, run_id)
        if holder is not None:
            known = {"what": f"{holder.what}, step {step}", "since": when or holder.since}
            return str(holder.model_copy(update=known))
        run = self._instance.get_run_by_id(run_id)
        what = "a deleted run" if run is None else describe(run)
        return (
            f"run {run_id[:8]} since {when or 'an unknown time'}: {what}, step {step}"
            " (whether its process lives cannot be told from here; if it is gone, cancel the run in the UI)"
        )
