"""Dagster's instance, partitions and in-process runs for the commands.

`faq run` executes the steps of a job in its own process, so that the model libraries are imported once,
not once per step. The run is an ordinary Dagster run: it is stored in the instance and shown in the UI.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import dagster as dg

from faq_pipeline.errors import library_errors
from faq_pipeline.execution.cell_resolver import CellResolver
from faq_pipeline.orchestration.cached_steps import CachedSteps
from faq_pipeline.orchestration.dagster_internals.pool_slots import install_slot_claims, without_slots
from faq_pipeline.orchestration.dagster_internals.run_execution import (
    install_owned_runs,
    without_compute_logs,
)
from faq_pipeline.orchestration.dagster_internals.run_records import NOT_RETRIED, of_code_location
from faq_pipeline.orchestration.dagster_internals.sqlite_engines import reuse_sqlite_engines
from faq_pipeline.orchestration.definitions import build_defs
from faq_pipeline.orchestration.partitions import register_key
from faq_pipeline.orchestration.resources import PipelineResource, ProgressResource
from faq_pipeline.orchestration.run_failures import failure, was_interrupted
from faq_pipeline.orchestration.run_owners import end_dead_runs, mark_tag
from faq_pipeline.settings import Settings
from faq_pipeline.util.garbage import usual_collections
from faq_pipeline.util.locks import ProcessLock
from faq_pipeline.util.memoize import memoizing

LOCATION = "faq_pipeline"
"""The pipeline's code location in the workspace files. Runs of this process stand there in the UI."""


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """Open the Dagster instance of these settings, and free the pool slots of dead runs.

    A lock admits one process at a time, since concurrent creation of Dagster's tables would fail.
    """
    reuse_sqlite_engines()
    install_slot_claims()
    install_owned_runs()
    with ProcessLock(settings.home / "dagster.lock"):
        home = settings.dagster_home()
        os.environ["DAGSTER_HOME"] = str(home)
        with library_errors("Dagster cannot open its home", file=home, hint="see faq doctor"):
            instance = dg.DagsterInstance.get()
        end_dead_runs(instance)
    return instance


class Runs:
    """Runs the pipeline's jobs in this process."""

    def __init__(
        self,
        settings: Settings,
        instance: dg.DagsterInstance,
        progress: ProgressResource,
        cells: CellResolver | None = None,
    ) -> None:
        """
        Args:
            cells: where the caller has resolved cells already; they are resolved once for all runs.
        """
        self._instance, self._progress = instance, progress
        self._cells = cells or CellResolver(settings)
        self._pipeline = PipelineResource.of(settings, self._cells)
        resources = {
            "pipeline": dg.ResourceDefinition.hardcoded_resource(self._pipeline),
            "progress": progress,
        }
        self._definitions = build_defs(settings, resource_overrides=resources)

    def execute(
        self, job: str, partition: str, asset: str, config: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Run a job for one partition.

        Args:
            config: configuration of `asset`, if it has any.

        Returns:
            Metadata of the materialization of `asset`.

        Raises:
            FaqError: a step failed because of a user error, or a blocking check failed.
            KeyboardInterrupt: the process was interrupted or asked to end.
        """
        definition, run = self._definitions.resolve_job_def(job), str(uuid.uuid4())
        # Here and not once for all runs: somebody may delete a partition while earlier runs go on.
        register_key(self._instance, partition)
        cached = CachedSteps(self._cells, partition)
        with ExitStack() as stack:
            stack.enter_context(of_code_location(self._instance, LOCATION, job))
            stack.enter_context(without_slots(run, cached, self._progress.waits))
            if all(node.name in cached for node in definition.nodes):
                stack.enter_context(without_compute_logs(self._instance))
                stack.enter_context(memoizing())
            else:
                stack.enter_context(usual_collections())
            result = definition.execute_in_process(
                instance=self._instance,
                run_id=run,
                partition_key=partition,
                tags={**mark_tag(run), **NOT_RETRIED},
                run_config={
                    "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                    "ops": {asset: {"config": dict(config)}} if config else {},
                },
                raise_on_error=False,
            )
        self._pipeline.merge_hits()
        if not result.success:
            if was_interrupted(result.all_events):
                raise KeyboardInterrupt
            raise failure(result.all_events)
        for event in result.get_asset_materialization_events():
            if event.asset_key == dg.AssetKey(asset):
                metadata = event.materialization.metadata
                return {name: value.value for name, value in metadata.items()}
        raise RuntimeError(f"job {job} materialized no {asset}")
