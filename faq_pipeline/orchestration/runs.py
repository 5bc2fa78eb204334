"""Dagster behind the commands: its instance, partitions, and runs in this process.

A `faq run` executes the job's steps in its own process: models are imported once, not once a
step. The run is an ordinary one, kept in the instance and shown in the UI.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from faq_pipeline.orchestration.definitions import build_defs
from faq_pipeline.orchestration.partitions import MEMBERS
from faq_pipeline.orchestration.resources import PipelineResource, ProgressResource
from faq_pipeline.orchestration.run_failures import failure
from faq_pipeline.settings import Settings
from faq_pipeline.util.locks import ProcessLock
from faq_pipeline.util.processes import MARK, mark_is_dead, own_mark

LIVE = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """The Dagster instance of these settings, with the slots of dead runs freed.

    One process at a time: two that create Dagster's tables at once would stumble over each other.
    """
    with ProcessLock(settings.home / "dagster.lock"):
        os.environ["DAGSTER_HOME"] = str(settings.dagster_home())
        instance = dg.DagsterInstance.get()
        _bury_dead_runs(instance)
    return instance


def register(instance: dg.DagsterInstance, partitions: list[str]) -> None:
    """Make these member partitions known."""
    there = set(instance.get_dynamic_partitions(str(MEMBERS.name)))
    new = [key for key in partitions if key not in there]
    if new:
        instance.add_dynamic_partitions(str(MEMBERS.name), new)


class Runs:
    """Runs of the pipeline's jobs in this process."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance, progress: ProgressResource) -> None:
        self._instance = instance
        pipeline = PipelineResource(
            home=str(settings.home), data=[str(folder) for folder in settings.data], device=settings.device
        )
        self._definitions = build_defs(
            settings, resource_overrides={"pipeline": pipeline, "progress": progress}
        )

    def execute(
        self, job: str, partition: str, asset: str, config: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Run a job for one partition.

        Args:
            config: of `asset`, where it takes some.

        Returns:
            Metadata of the materialization of `asset`.

        Raises:
            FaqError: a step failed on a user's mistake, or a blocking check failed.
        """
        result = self._definitions.resolve_job_def(job).execute_in_process(
            instance=self._instance,
            partition_key=partition,
            tags={MARK: own_mark()},
            run_config={
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                "ops": {asset: {"config": dict(config)}} if config else {},
            },
            raise_on_error=False,
        )
        if not result.success:
            raise failure(result.all_events)
        for event in result.get_asset_materialization_events():
            if event.asset_key == dg.AssetKey(asset):
                metadata = event.materialization.metadata
                return {name: value.value for name, value in metadata.items()}
        raise RuntimeError(f"job {job} materialized no {asset}")


def _bury_dead_runs(instance: dg.DagsterInstance) -> None:
    """Mark runs of killed `faq` processes as failed and free their pool slots.

    Dagster's daemon does this too, where one runs.
    """
    for run in instance.get_runs(filters=RunsFilter(statuses=LIVE)):
        if MARK not in run.tags or not mark_is_dead(run.tags[MARK]):
            continue
        instance.report_run_failed(run, "the process of this run is gone")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
