"""Dagster behind the commands: its instance, partitions, and runs in this process.

A `faq run` executes the job's steps in its own process: models are imported once, not once a
step. The run is an ordinary one, kept in the instance and shown in the UI.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any

import dagster as dg
import psutil
from dagster import DagsterRunStatus, RunsFilter
from filelock import FileLock

from faq_pipeline.definitions import build_defs
from faq_pipeline.errors import FaqError
from faq_pipeline.partitions import MEMBERS
from faq_pipeline.resources import PipelineResource, ProgressResource
from faq_pipeline.settings import Settings

PROCESS = "faq/process"
"""Tag of a run: the process that executes it, as `host:pid:second of its birth`."""
LIVE = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """The Dagster instance of these settings, with the slots of dead runs freed.

    One process at a time: two that create Dagster's tables at once would stumble over each other.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    with FileLock(settings.home / "dagster.lock"):
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
            tags=_owner(),
            run_config={
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                "ops": {asset: {"config": dict(config)}} if config else {},
            },
            raise_on_error=False,
        )
        if not result.success:
            raise _failure(result)
        for event in result.get_asset_materialization_events():
            if event.asset_key == dg.AssetKey(asset):
                metadata = event.materialization.metadata
                return {name: value.value for name, value in metadata.items()}
        raise RuntimeError(f"job {job} materialized no {asset}")


def _owner() -> dict[str, str]:
    me = psutil.Process()
    return {PROCESS: f"{socket.gethostname()}:{me.pid}:{int(me.create_time())}"}


def _bury_dead_runs(instance: dg.DagsterInstance) -> None:
    """Mark runs of killed `faq` processes as failed and free their pool slots.

    Dagster's daemon does this for runs that it launched; nobody watches a run in a killed process.
    """
    for run in instance.get_runs(filters=RunsFilter(statuses=LIVE)):
        host, _, process = run.tags.get(PROCESS, "").partition(":")
        if host != socket.gethostname() or _alive(*map(int, process.split(":"))):
            continue
        instance.report_run_failed(run, "the process of this run is gone")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


def _alive(pid: int, born: int) -> bool:
    try:
        return abs(int(psutil.Process(pid).create_time()) - born) <= 1
    except psutil.NoSuchProcess:
        return False


def _failure(result: Any) -> Exception:
    """What stopped a run: the user's mistake or the failed check as a FaqError, a bug as it is."""
    for event in result.all_events:
        # A failed check comes first: Dagster fails its step with an error of its own.
        if event.event_type_value == "ASSET_CHECK_EVALUATION":
            data = event.asset_check_evaluation_data
            if not data.passed and data.blocking:
                facts = "; ".join(f"{name}: {value.value}" for name, value in data.metadata.items())
                return FaqError(
                    f"check {data.check_name} of {data.asset_key.to_user_string()} failed: {facts}",
                    mend="nothing downstream was made",
                )
    for event in result.all_events:
        if event.is_step_failure:
            failure = event.step_failure_data
            user = failure.user_failure_data
            if user is not None:
                return FaqError(user.description or "a step failed")
            error = failure.error
            cause = error.cause if error and error.cause else error
            return RuntimeError(f"{event.step_key} failed\n{cause.to_string() if cause else ''}")
    return RuntimeError("the run failed; see it in the UI (make ui)")
