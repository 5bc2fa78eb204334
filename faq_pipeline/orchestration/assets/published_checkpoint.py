"""`published_checkpoint`: the checkpoint where its family publishes it, once.

It asks the gate again: in a run of this asset alone nobody else has.
"""

from typing import Any

import dagster as dg
from pydantic import Field

from faq_pipeline.core import stage_names
from faq_pipeline.orchestration import op_tags
from faq_pipeline.orchestration.assets.stage_asset import fail_on_faq_error
from faq_pipeline.orchestration.resources import PipelineResource
from faq_pipeline.publishing.publish import Publication
from faq_pipeline.publishing.review import content_of, publish_review, review_cell

NAME = "published_checkpoint"
MOST_CARD = 30_000
"""Characters of the model card that are shown: oversized metadata is refused by Dagster's storage."""


class PublishConfig(dg.Config):
    """What only a person asks for."""

    again: bool = Field(
        default=False, description="Also a checkpoint that was withdrawn; an older one becomes current."
    )


def build(cells: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The asset."""

    @dg.asset(
        name=NAME,
        deps=["publication_review", stage_names.QUANTIZED_CHECKPOINT],
        partitions_def=cells,
        group_name="publication",
        description="The checkpoint with its model card, in the family's directory and hub repository.",
        code_version="1",
        kinds={"safetensors", "markdown"},
        op_tags=op_tags.CPU,
    )
    def published_checkpoint(
        context: dg.AssetExecutionContext, pipeline: PipelineResource, config: PublishConfig
    ) -> dg.MaterializeResult:
        with fail_on_faq_error():
            settings = pipeline.settings()
            review = review_cell(settings, pipeline.cell(context.partition_key))
            content = content_of(settings, review)
            done = publish_review(settings, review, content, again=config.again, run=context.run_id)
        for note in done.notes:
            context.log.info(note)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(done.digest),
            metadata={**_shown(done), "card": dg.MetadataValue.md(content.card[:MOST_CARD])},
        )

    return published_checkpoint


def _shown(done: Publication) -> dict[str, Any]:
    """What came of it, in place; and all of it as JSON, which the CLI reads."""
    destinations = ", ".join(str(one.place) for one in done.places)
    commits = ", ".join(one.commit for one in done.places if one.commit)
    return {
        "published": done.status,
        **({"destination": destinations} if destinations else {}),
        **({"commit": commits} if commits else {}),
        **({"withdrawn because": done.reason} if done.status == "withdrawn" else {}),
        **({"note": "; ".join(done.notes)} if done.notes else {}),
        "publication": dg.MetadataValue.json(done.as_dict()),
    }
