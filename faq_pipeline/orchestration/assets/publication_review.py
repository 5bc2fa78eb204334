"""The asset `publication_review`: the gate's verdict on whether a checkpoint may be published.

The verdict is computed each time and not stored as an artifact (see `publishing.review`). Its data
version is the same for the same verdict on the same artifacts.
"""

import dagster as dg

from faq_pipeline.core import stage_names
from faq_pipeline.orchestration import tags
from faq_pipeline.orchestration.assets.metadata import table
from faq_pipeline.orchestration.assets.stage_asset import fail_on_faq_error
from faq_pipeline.orchestration.resources import PipelineResource
from faq_pipeline.publishing.review import review_cell

NAME, CHECK = "publication_review", "publication_gate"


def build(cells: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The asset."""

    @dg.asset(
        name=NAME,
        deps=[
            stage_names.SEED_DATA,
            stage_names.CALIBRATION_SET,
            stage_names.QUANTIZED_CHECKPOINT,
            stage_names.EVAL_REPORT,
        ],
        partitions_def=cells,
        group_name="publication",
        description="Recovery, contamination, licences and soundness of the checkpoint, checked against the"
        " requirements of the recipe and the family.",
        code_version="1",
        kinds={"markdown"},
        op_tags=tags.CPU,
        check_specs=[
            dg.AssetCheckSpec(
                CHECK, asset=NAME, description="Every criterion of the gate is met.", blocking=True
            )
        ],
    )
    def publication_review(
        context: dg.AssetExecutionContext, pipeline: PipelineResource
    ) -> dg.MaterializeResult:
        with fail_on_faq_error():
            review = review_cell(pipeline.settings(), pipeline.cell(context.partition_key))
        verdict = review.verdict
        rows = [
            {
                "criterion": criterion.name,
                "verdict": "passed" if criterion.passed else "failed",
                "found": criterion.found,
                "needed": criterion.needed,
            }
            for criterion in verdict.criteria
        ]
        why = verdict.reason or "every criterion is met"
        return dg.MaterializeResult(
            data_version=dg.DataVersion(review.version),
            metadata={
                "verdict": "may be published" if verdict.passed else "may not be published",
                "why": why,
                "criteria": table(rows),
                "checkpoint": review.finished.checkpoint.fingerprint,
                "digest": review.finished.checkpoint.digest,
            },
            check_results=[
                dg.AssetCheckResult(
                    check_name=CHECK,
                    passed=verdict.passed,
                    severity=dg.AssetCheckSeverity.ERROR,
                    metadata={"cell": context.partition_key, "why": why},
                )
            ],
        )

    return publication_review
