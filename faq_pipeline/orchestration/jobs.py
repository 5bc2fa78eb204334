"""Jobs: quantize a cell; do the same and publish it; publish it alone; compare recipes; make a study."""

from typing import Any

import dagster as dg

QUANTIZE = "quantize"
REQUANTIZE = "requantize"
"""What sensors and schedules ask for where the family publishes."""
PUBLISH = "publish"
"""Review and publication of a cell that has its report."""
COMPARE = "compare"
STUDY = "study"


def build_jobs() -> list[Any]:
    """All jobs."""
    comparison = dg.AssetSelection.assets("recipe_comparison")
    publication = dg.AssetSelection.assets("publication_review", "published_checkpoint")
    studies = dg.AssetSelection.groups("study")
    return [
        dg.define_asset_job(
            QUANTIZE,
            selection=dg.AssetSelection.all() - comparison - publication - studies,
            description="From seed to report, for one member and one recipe.",
        ),
        dg.define_asset_job(
            REQUANTIZE,
            selection=dg.AssetSelection.all() - comparison - studies,
            description="From seed to report, and to a published checkpoint if the report passes the gate.",
        ),
        dg.define_asset_job(
            PUBLISH,
            selection=publication,
            description="A finished checkpoint through the gate, and to where its family publishes.",
        ),
        dg.define_asset_job(
            COMPARE, selection=comparison, description="All evaluated recipes of a member, beside each other."
        ),
        dg.define_asset_job(STUDY, selection=studies, description="All cells of a study, and what they say."),
    ]
