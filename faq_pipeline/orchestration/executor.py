"""The executor of all jobs: one process for a run in which everything is made already, else one a step."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from contextlib import ExitStack
from typing import Any

import dagster as dg

from faq_pipeline.orchestration.dagster_internals.pool_slots import install_slot_claims, without_slots
from faq_pipeline.orchestration.dagster_internals.run_execution import (
    Executor,
    in_process_executor,
    install_owned_runs,
    without_compute_logs,
)

StepsOf = Callable[[dg.DagsterRun], Container[str]]
"""The steps of a run whose artifacts are there; asked again for a step that waits."""


class CacheAwareExecutor(Executor):
    """Runs steps whose artifacts are there without a slot of a pool, and without processes if all are.

    Such a step loads no model: a process of its own would only cost its start, and waiting for the GPU
    would be for nothing.
    """

    def __init__(self, inner: Executor, cached_steps: StepsOf) -> None:
        self._inner, self._cached_steps = inner, cached_steps

    @property
    def retries(self) -> Any:
        return self._inner.retries

    @property
    def step_dependency_config(self) -> Any:
        return self._inner.step_dependency_config

    def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[dg.DagsterEvent]:
        """The events of the run's steps."""
        run = plan_context.dagster_run
        cached = self._cached_steps(run)
        all_cached = all(step in cached for step in execution_plan.step_keys_to_execute)
        with ExitStack() as stack:
            stack.enter_context(without_slots(run.run_id, cached, plan_context.log.info))
            if all_cached:
                stack.enter_context(without_compute_logs(plan_context.instance))
            executor = in_process_executor(self._inner) if all_cached else self._inner
            yield from executor.execute(plan_context, execution_plan)


def cache_aware_executor(
    config: dict[str, Any], cached_steps: StepsOf = lambda run: frozenset()
) -> dg.ExecutorDefinition:
    """Dagster's multiprocess executor with this configuration, as a `CacheAwareExecutor`."""
    install_slot_claims()
    install_owned_runs()
    processes: Any = dg.multiprocess_executor

    @dg.executor(
        name=processes.name,
        config_schema=processes.config_schema,
        requirements=dg.multiple_process_executor_requirements(),
    )
    def executor(context: dg.InitExecutorContext) -> Executor:
        return CacheAwareExecutor(processes.executor_creation_fn(context), cached_steps)

    return executor.configured(config)
