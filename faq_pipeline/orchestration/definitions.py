"""Dagster's definitions: assets, jobs, sensors, schedules, resources of the pipeline; studies beside them.

Studies are another code location, so that "Materialize all" in the pipeline's launches none.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from typing import Any

import dagster as dg

from faq_pipeline.orchestration.assets import build_assets, study
from faq_pipeline.orchestration.automation import build_schedules, build_sensors
from faq_pipeline.orchestration.cached_steps import CachedSteps
from faq_pipeline.orchestration.dagster_internals.sqlite_engines import reuse_sqlite_engines
from faq_pipeline.orchestration.executor import cache_aware_executor
from faq_pipeline.orchestration.jobs import build_jobs, build_study_jobs
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
    return dg.Definitions(
        assets=build_assets(CELLS),
        jobs=build_jobs(),
        sensors=build_sensors(settings),
        schedules=build_schedules(settings),
        **_how_to_run(settings, resource_overrides),
    )


def build_study_defs(
    settings: Settings | None = None, *, resource_overrides: Mapping[str, Any] | None = None
) -> dg.Definitions:
    """The definitions of the studies. Arguments are those of `build_defs`."""
    settings = settings or Settings.from_environment()
    return dg.Definitions(
        assets=study.build(sorted(settings.catalog.study_names)),
        jobs=build_study_jobs(),
        **_how_to_run(settings, resource_overrides),
    )


def _how_to_run(settings: Settings, resource_overrides: Mapping[str, Any] | None) -> dict[str, Any]:
    reuse_sqlite_engines()
    return {
        "resources": {
            "pipeline": PipelineResource.of(settings),
            "progress": ProgressResource(),
            **(resource_overrides or {}),
        },
        "executor": cache_aware_executor(EXECUTOR, partial(CachedSteps.of_run, settings)),
    }


@cache
def default_definitions() -> dg.Definitions:
    """The definitions of the environment's settings, built once per process."""
    return build_defs()


@cache
def default_study_definitions() -> dg.Definitions:
    """The studies' definitions of the environment's settings, built once per process."""
    return build_study_defs()
