"""`reference_eval`: the unquantized target under the recipe's evaluation."""

from typing import Any

import dagster as dg

from faq_pipeline.assets.stage_asset import stage_asset, table
from faq_pipeline.cell import Cell
from faq_pipeline.evaluation.stage import REFERENCE_EVAL
from faq_pipeline.records import Evaluation, read_rows
from faq_pipeline.runner import Outcome


def build(cells: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The asset."""
    return stage_asset(
        REFERENCE_EVAL,
        cells,
        description="The unquantized target's answers, and its token distributions on held-out traces.",
        group="evaluation",
        kinds={"lm-eval", "parquet"},
        gpu=True,
        describe=_describe,
    )


def _describe(cell: Cell, outcome: Outcome) -> dict[str, Any]:
    return {"figures": figures_table(outcome)}


def figures_table(outcome: Outcome) -> dg.MetadataValue:
    """Every figure of an evaluation with its interval."""
    rows = read_rows(outcome.artifact.file("evaluations.parquet"), Evaluation)
    shown = [
        {"scope": r.scope, "metric": r.metric, "value": r.value, "low": r.low, "high": r.high, "n": r.n}
        for r in rows
    ]
    return table(shown)
