"""The asset `eval_report`: the quantized target compared with the reference."""

from typing import Any

import dagster as dg

from faq_pipeline.core.cell import Cell
from faq_pipeline.evaluation.stage import EVAL_REPORT
from faq_pipeline.execution.runner import Outcome
from faq_pipeline.orchestration.assets.metadata import interval, rounded
from faq_pipeline.orchestration.assets.plots import interval_bar, png_uri
from faq_pipeline.orchestration.assets.stage_asset import stage_asset


def build(cells: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The asset."""
    return stage_asset(
        EVAL_REPORT,
        cells,
        description="Recovery, loss and divergence of the checkpoint against the reference, paired by"
        " question.",
        group="evaluation",
        kinds={"lm-eval", "parquet"},
        describe=_describe,
    )


def _describe(cell: Cell, outcome: Outcome) -> dict[str, Any]:
    artifact = outcome.artifact
    found, gate = artifact.metadata, artifact.metadata["gate"]
    plot = png_uri(artifact.file("recovery.png").read_bytes())
    report = artifact.file("report.md").read_text(encoding="utf-8").replace("](recovery.png)", f"]({plot})")
    shown: dict[str, Any] = {}
    if found["recovery"] is not None:
        marks = ({"gate": gate["threshold"]} if gate else {}) | {"reference": 1.0}
        shown["recovery_plot"] = interval_bar(found["recovery"], marks)
        shown["recovery"] = interval(found["recovery"])
        shown["recovery_percent"] = rounded(100 * found["recovery"]["value"])
    if found["loss"] is not None:
        shown["loss"] = interval(found["loss"])
        shown["loss_points"] = rounded(100 * found["loss"]["value"])
        shown["verdict"] = found["verdict"]
    return {
        **shown,
        "report": dg.MetadataValue.md(report),
        "whole_report": f"faq report {cell.target.partition} {cell.recipe.name}",
        "report_html": dg.MetadataValue.path(str(artifact.file("report.html"))),
    }
