"""The jobs: quantize a cell (with or without an evaluation), publish it, compare recipes; run a study."""

from typing import Any

import dagster as dg

QUANTIZE = "quantize"
CHECKPOINT = "checkpoint"
REQUANTIZE = "requantize"
"""Requested by sensors and schedules for families that publish."""
PUBLISH = "publish"
"""Reviews and publishes a cell that has its report."""
COMPARE = "compare"
STUDY = "study"


def build_jobs() -> list[Any]:
    """All jobs of the pipeline."""
    comparison = dg.AssetSelection.assets("recipe_comparison")
    publication = dg.AssetSelection.assets("publication_review", "published_checkpoint")
    return [
        dg.define_asset_job(
            QUANTIZE,
            selection=dg.AssetSelection.all() - comparison - publication,
            description="From seed data to report, for one member and one recipe.",
        ),
        dg.define_asset_job(
            CHECKPOINT,
            selection=dg.AssetSelection.assets("quantized_checkpoint").upstream(),
            description="From seed data to checkpoint, for one member and one recipe; no evaluation.",
        ),
        dg.define_asset_job(
            REQUANTIZE,
            selection=dg.AssetSelection.all() - comparison,
            description="From seed data to report, and to a published checkpoint if it passes the gate.",
        ),
        dg.define_asset_job(
            PUBLISH,
            selection=publication,
            description="Check a finished checkpoint against the gate, and publish it.",
        ),
        dg.define_asset_job(
            COMPARE, selection=comparison, description="Compare all evaluated recipes of a member."
        ),
    ]


def build_study_jobs() -> list[Any]:
    """The job of the studies' own code location."""
    everything = dg.AssetSelection.all()
    return [
        dg.define_asset_job(STUDY, selection=everything, description="All cells of a study, and its report.")
    ]
