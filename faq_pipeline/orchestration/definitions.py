"""Dagster's definitions of the pipeline: assets, jobs, sensors, schedules, resources."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from faq_pipeline.orchestration.assets import build_assets
from faq_pipeline.orchestration.automation import build_schedules, build_sensors
from faq_pipeline.orchestration.executor import patient_executor
from faq_pipeline.orchestration.jobs import build_jobs
from faq_pipeline.orchestration.partitions import cells
from faq_pipeline.orchestration.resources import PipelineResource, ProgressResource
from faq_pipeline.settings import Settings

EXECUTOR: dict[str, Any] = {
    # One process per step, so that a step's memory is freed at its end. The GPU pool admits fewer.
    "max_concurrent": 2,
    # Fork from a server process with these definitions loaded (and no model library): saves seconds per hit.
    "start_method": {"forkserver": {"preload_modules": ["faq_pipeline.definitions"]}},
}


def build_defs(
    settings: Settings | None = None, *, resource_overrides: Mapping[str, Any] | None = None
) -> dg.Definitions:
    """The pipeline's definitions.

    Args:
        settings: their recipes and studies become partitions; by default, those of the environment.
        resource_overrides: resources by name (`pipeline`, `progress`) that replace the defaults.
    """
    settings = settings or Settings.from_environment()
    matrix = cells(sorted(settings.catalog.recipes))
    return dg.Definitions(
        assets=build_assets(matrix, sorted(settings.catalog.study_files)),
        jobs=build_jobs(),
        sensors=build_sensors(settings),
        schedules=build_schedules(settings),
        resources={
            "pipeline": PipelineResource(),
            "progress": ProgressResource(),
            **(resource_overrides or {}),
        },
        executor=patient_executor(EXECUTOR),
    )
