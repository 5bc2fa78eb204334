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
from faq_pipeline.settings import Settings

PARTITION = "dagster/partition"


def cached_steps(settings: Settings, run: dg.DagsterRun) -> frozenset[str]:
    """Those of a run of one cell; none where the run has other settings, or the cell cannot be planned."""
    config: Any = run.run_config
    if "pipeline" in config.get("resources", {}):
        return frozenset()
    return cached_stages(CellResolver(settings), run.tags.get(PARTITION, ""))


def cached_stages(cells: CellResolver, partition_key: str) -> frozenset[str]:
    """The stages of a cell `name@rev8|recipe` whose artifacts are there.

    The comparison of a member's recipes counts as one: it loads no model.
    """
    member, recipe = split(partition_key)
    if not recipe:
        return frozenset({COMPARISON})
    try:
        planned = plan(cells.cell(member, recipe), STAGES, cells.settings.store)
    except (FaqError, OSError):
        return frozenset()  # the steps will say what is wrong
    return frozenset(name for name, one in planned.items() if one.artifact is not None)
