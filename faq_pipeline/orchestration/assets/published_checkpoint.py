"""The asset `published_checkpoint`: the checkpoint published once to the destinations of its family.

It checks the gate again, because a run of this asset alone does not include `publication_review`.
"""

from typing import Any

import dagster as dg
from pydantic import Field

from faq_pipeline.core import stage_names
from faq_pipeline.orchestration import tags
from faq_pipeline.orchestration.assets.stage_asset import fail_on_faq_error
from faq_pipeline.orchestration.resources import PipelineResource
from faq_pipeline.publishing.publish import Publication
from faq_pipeline.publishing.review import content_of, publish_review, review_cell

NAME = "published_checkpoint"
MOST_CARD = 30_000
"""Maximum number of shown characters of the model card; Dagster's storage refuses oversized metadata."""


class PublishConfig(dg.Config):
    """Options for manual runs."""

    again: bool = Field(
        default=False,
        description="Publish even a withdrawn checkpoint, or make an older one current again.",
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
        op_tags=tags.CPU,
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
    """The outcome as short metadata, and in full as JSON, which the CLI reads."""
    destinations = ", ".join(str(placed.place) for placed in done.places)
    commits = ", ".join(placed.commit for placed in done.places if placed.commit)
    return {
        "published": done.status,
        **({"destination": destinations} if destinations else {}),
        **({"commit": commits} if commits else {}),
        **({"withdrawn because": done.reason} if done.status == "withdrawn" else {}),
        **({"note": "; ".join(done.notes)} if done.notes else {}),
        "publication": dg.MetadataValue.json(done.as_dict()),
    }
