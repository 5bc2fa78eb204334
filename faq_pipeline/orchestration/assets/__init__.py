"""One thin module per stage: read inputs, call the domain, record metadata. No algorithms here."""

import dagster as dg

from faq_pipeline.orchestration.assets import (
    calibration_set,
    competition_scores,
    eval_report,
    inference_traces,
    publication_review,
    published_checkpoint,
    quantized_checkpoint,
    recipe_comparison,
    reference_eval,
    regenerated_corpus,
    seed_data,
)

CELL_ASSETS = (
    seed_data,
    inference_traces,
    regenerated_corpus,
    competition_scores,
    calibration_set,
    quantized_checkpoint,
    reference_eval,
    eval_report,
    publication_review,
    published_checkpoint,
)


def build_assets(cells: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """All assets of the pipeline. Assets of a cell are partitioned by `cells`."""
    return [*(module.build(cells) for module in CELL_ASSETS), recipe_comparison.build()]
