"""The asset `recipe_comparison`: all evaluated recipes of a member, side by side."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from faq_pipeline.core import stage_names
from faq_pipeline.execution.recipe_comparison import NAME, VERSION, compare_member, read_comparison
from faq_pipeline.orchestration import tags
from faq_pipeline.orchestration.assets.metadata import figures, percent, table
from faq_pipeline.orchestration.assets.stage_asset import fail_on_faq_error, provenance
from faq_pipeline.orchestration.partitions import MEMBERS
from faq_pipeline.orchestration.resources import PipelineResource, ProgressResource

REPORTS = dg.AssetDep(stage_names.EVAL_REPORT, partition_mapping=dg.SpecificPartitionsPartitionMapping([]))
"""The reports of the member's cells, as an edge of the graph without partitions.

Dagster has no mapping from a cell to its member that its daemon and webserver can evaluate: they know
those of its own only, and none of these reads keys. With the mapping to all cells, a backfill of one
cell would compare every member.
"""


def build() -> dg.AssetsDefinition:
    """The asset, with one partition per member."""

    @dg.asset(
        name=NAME,
        deps=[REPORTS],
        partitions_def=MEMBERS,
        group_name="evaluation",
        description="Loss, divergence and loss reduction of every evaluated recipe of the member.",
        code_version=str(VERSION),
        kinds={"markdown"},
        op_tags=tags.CPU,
    )
    def recipe_comparison(
        context: dg.AssetExecutionContext,
        pipeline: PipelineResource,
        progress: dg.ResourceParam[ProgressResource],
    ) -> dg.MaterializeResult:
        with fail_on_faq_error():
            outcome = compare_member(pipeline.settings(), context.partition_key, pipeline.cells)
            progress.finished(context.partition_key, "all", outcome)
        text = outcome.artifact.file("comparison.md").read_text(encoding="utf-8")
        return dg.MaterializeResult(
            data_version=dg.DataVersion(outcome.artifact.digest),
            metadata={
                "losses": table(
                    _losses(read_comparison(pipeline.settings().store, outcome.artifact.fingerprint))
                ),
                "comparison": dg.MetadataValue.md(text),
                **figures(outcome.artifact.metadata),
                **provenance(outcome),
            },
        )

    return recipe_comparison


def _losses(comparison: Mapping[str, Any]) -> list[dict[str, str]]:
    return [
        {
            "recipe": row["recipe"],
            "loss, points": percent(row["loss"]) if row["loss"] else "",
            "loss reduction, %": percent(row["loss_reduction"]) if row.get("loss_reduction") else "",
        }
        for row in comparison["recipes"]
    ]
