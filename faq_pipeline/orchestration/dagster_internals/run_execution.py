"""How a run and its steps are executed: by which processes, and with which of them it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from dagster._core.execution import api, execute_in_process
from dagster._core.executor import in_process, multiprocess
from dagster._core.executor.base import Executor
from dagster._core.storage.noop_compute_log_manager import NoOpComputeLogManager
from dagster._core.storage.tags import MAX_RETRIES_TAG

from faq_pipeline.orchestration.run_owners import owned, re_executes_marked
from faq_pipeline.util.attributes import replaced_attribute
from faq_pipeline.util.parent_watch import exit_with_parent

__all__ = ["Executor", "WatchedStep", "in_process_executor", "install_owned_runs", "without_compute_logs"]


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
        setattr(module, "job_execution_iterator", _owned_execution)  # noqa: B010 - not exported for mypy
    setattr(multiprocess, "MultiprocessExecutorChildProcessCommand", WatchedStep)  # noqa: B010 - not exported for mypy


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
