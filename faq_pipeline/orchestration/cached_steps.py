"""Which steps of a run have their artifacts already."""

from __future__ import annotations

from typing import Any

import dagster as dg

from faq_pipeline.errors import FaqError
from faq_pipeline.execution.cell_resolver import CellResolver
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.execution.recipe_comparison import NAME as COMPARISON
from faq_pipeline.execution.runner import plan
from faq_pipeline.orchestration.partitions import split
from faq_pipeline.orchestration.resources import PipelineResource
from faq_pipeline.settings import Settings
from faq_pipeline.study.design.cells import resolve_study
from faq_pipeline.study.execution.results import is_finished, read_results

PARTITION = "dagster/partition"
STUDY_CELLS = "study_cells"


class CachedSteps:
    """The steps of a run whose artifacts are there. Asked for one that was not there, it looks again."""

    def __init__(self, cells: CellResolver, partition_key: str) -> None:
        self._cells, self._partition_key = cells, partition_key
        self._known: frozenset[str] = frozenset()

    @classmethod
    def of_run(cls, settings: Settings, run: dg.DagsterRun) -> CachedSteps:
        """Those of a run, with its own configuration of the pipeline's resource if it has one."""
        pipeline = PipelineResource.of(settings)
        config: Any = run.run_config
        own = config.get("resources", {}).get("pipeline", {}).get("config", {})
        try:
            cells = (type(pipeline)(**own) if own else pipeline).cells
        except (ValueError, dg.DagsterError):  # what only a step can read: variables of its environment
            return cls(pipeline.cells, "")
        return cls(cells, run.tags.get(PARTITION, ""))

    def __contains__(self, step: object) -> bool:
        if step not in self._known:
            self._known = cached_stages(self._cells, self._partition_key)
        return step in self._known


def cached_stages(cells: CellResolver, partition_key: str) -> frozenset[str]:
    """The stages of a cell `name@rev8|recipe` whose artifacts are there.

    The comparison of a member's recipes counts as one: it loads no model. So do the cells of a study, a
    partition of its own, once all are finished.
    """
    member, recipe = split(partition_key)
    if not recipe:
        return frozenset({COMPARISON, *([STUDY_CELLS] if _study_is_finished(cells, partition_key) else [])})
    try:
        planned = plan(cells.cell(member, recipe), STAGES, cells.settings.store)
    except (FaqError, OSError):
        return frozenset()  # the steps will say what is wrong
    return frozenset(name for name, one in planned.items() if one.artifact is not None)


def _study_is_finished(cells: CellResolver, name: str) -> bool:
    settings = cells.settings
    try:
        if name not in settings.catalog.study_names:
            return False
        design = resolve_study(settings.catalog, name, settings.device, settings.digests)
        results = read_results(settings.store, name)
        return all(is_finished(cell, results, settings.store) for cell in design.cells)
    except (FaqError, OSError):
        return False  # the step will say what is wrong
