"""Dagster's definitions of the pipeline: assets, jobs, sensors, schedules, resources."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from typing import Any

import dagster as dg

from faq_pipeline.orchestration.assets import build_assets
from faq_pipeline.orchestration.automation import build_schedules, build_sensors
from faq_pipeline.orchestration.cached_steps import CachedSteps
from faq_pipeline.orchestration.dagster_internals import reuse_sqlite_engines
from faq_pipeline.orchestration.executor import cache_aware_executor
from faq_pipeline.orchestration.jobs import build_jobs
from faq_pipeline.orchestration.partitions import CELLS
from faq_pipeline.orchestration.resources import PipelineResource, ProgressResource
from faq_pipeline.settings import Settings

EXECUTOR: dict[str, Any] = {
    # One process per step, so that a step's memory is freed at its end. The GPU pool admits fewer.
    "max_concurrent": 2,
    # Fork from a server process with the definitions built; see `preload` for the model libraries.
    "start_method": {"forkserver": {"preload_modules": ["faq_pipeline.orchestration.preload"]}},
}


def build_defs(
    settings: Settings | None = None, *, resource_overrides: Mapping[str, Any] | None = None
) -> dg.Definitions:
    """The pipeline's definitions.

    Args:
        settings: handed to assets, sensors and schedules, which do not read the environment themselves;
            by default, those of the environment.
        resource_overrides: resources by name (`pipeline`, `progress`) that replace the defaults.
    """
    settings = settings or Settings.from_environment()
    reuse_sqlite_engines()
    return dg.Definitions(
        assets=build_assets(CELLS, sorted(settings.catalog.study_names)),
        jobs=build_jobs(),
        sensors=build_sensors(settings),
        schedules=build_schedules(settings),
        resources={
            "pipeline": PipelineResource.of(settings),
            "progress": ProgressResource(),
            **(resource_overrides or {}),
        },
        executor=cache_aware_executor(EXECUTOR, partial(CachedSteps.of_run, settings)),
    )


@cache
def default_definitions() -> dg.Definitions:
    """The definitions of the environment's settings, built once per process."""
    return build_defs()
