"""`eval_report`: the quantized target beside the reference."""

from typing import Any

import dagster as dg

from faq_pipeline.assets.pictures import picture
from faq_pipeline.assets.reference_eval import figures_table
from faq_pipeline.assets.stage_asset import stage_asset
from faq_pipeline.cell import Cell
from faq_pipeline.evaluation.stage import EVAL_REPORT
from faq_pipeline.runner import Outcome


def build(cells: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The asset."""
    return stage_asset(
        EVAL_REPORT,
        cells,
        description="Recovery, loss and divergence of the checkpoint against the reference, paired by question.",
        group="evaluation",
        kinds={"lm-eval", "parquet"},
        gpu=True,
        describe=_describe,
    )


def _describe(cell: Cell, outcome: Outcome) -> dict[str, Any]:
    artifact = outcome.artifact
    return {
        "recovery_plot": picture(artifact.file("recovery.png")),
        "figures": figures_table(outcome),
        "report": dg.MetadataValue.url(artifact.file("report.html").as_uri()),
    }
