"""The asset `reference_eval`: the recipe's evaluation of the unquantized target."""

from typing import Any

import dagster as dg

from faq_pipeline.core.cell import Cell
from faq_pipeline.evaluation.stage import REFERENCE_EVAL
from faq_pipeline.execution.runner import Outcome
from faq_pipeline.orchestration.assets.metadata import percent, table
from faq_pipeline.orchestration.assets.stage_asset import stage_asset


def build(cells: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The asset."""
    return stage_asset(
        REFERENCE_EVAL,
        cells,
        description="The unquantized target's answers, and its token distributions on held-out traces.",
        group="target",
        kinds={"lm-eval", "parquet"},
        describe=_describe,
    )


def _describe(cell: Cell, outcome: Outcome) -> dict[str, Any]:
    tasks = outcome.artifact.metadata["per_task"]
    return {
        "by_task": table(
            {"task": name, "accuracy, %": percent(task["accuracy"]), "questions": task["n"]}
            for name, task in tasks.items()
        )
    }
