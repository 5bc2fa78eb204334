"""Find the cause of a failed Dagster run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import dagster as dg

from faq_pipeline.errors import FaqError

INTERRUPTIONS = ("DagsterExecutionInterruptedError", "KeyboardInterrupt")
"""Classes of errors that end a step when the process gets SIGINT or SIGTERM."""


def failure(events: Iterable[dg.DagsterEvent]) -> Exception:
    """The cause of a failed run: a FaqError for a user error or a failed check, otherwise a RuntimeError."""
    events = list(events)
    # A failed check comes first: Dagster fails its step with an error of its own.
    checks = (event.asset_check_evaluation_data for event in events if _is(event, "ASSET_CHECK_EVALUATION"))
    for check in checks:
        if not check.passed and check.blocking:
            facts = "; ".join(f"{name}: {value.value}" for name, value in check.metadata.items())
            return FaqError(
                f"check {check.check_name} of {check.asset_key.to_user_string()} failed: {facts}",
                hint="nothing downstream was made",
            )
    for event in events:
        if event.is_step_failure:
            return _step_failure(event)
    for event in events:
        if _is(event, "PIPELINE_FAILURE") and event.message:
            return RuntimeError(event.message)
    return RuntimeError("the run failed; see it in the UI (make ui)")


def was_interrupted(events: Iterable[dg.DagsterEvent]) -> bool:
    """Whether a step ended because the process was interrupted or asked to end (SIGINT, SIGTERM)."""
    for event in events:
        error: Any = event.step_failure_data.error if event.is_step_failure else None
        while error is not None:
            if error.cls_name in INTERRUPTIONS:
                return True
            error = error.cause
    return False


def reason(events: Iterable[dg.DagsterEvent]) -> str:
    """The cause of a failed run, in one line."""
    return next((line for line in str(failure(events)).splitlines() if line.strip()), "")


def _step_failure(event: dg.DagsterEvent) -> Exception:
    data: Any = event.step_failure_data
    if data.user_failure_data is not None:
        key = data.user_failure_data.metadata.get("key")
        description = data.user_failure_data.description or "a step failed"
        return FaqError(description, key=str(key.value) if key is not None else "")
    cause = data.error.cause if data.error and data.error.cause else data.error
    summary = f": {cause.message.strip()}" if cause else ""
    return RuntimeError(f"{event.step_key} failed{summary}\n{cause.to_string() if cause else ''}")


def _is(event: dg.DagsterEvent, kind: str) -> bool:
    return bool(event.event_type_value == kind)
