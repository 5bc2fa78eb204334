"""The asset `regenerated_corpus`: K candidates for every seed."""

from typing import Any

import dagster as dg

from faq_pipeline.core import stage_names
from faq_pipeline.core.cell import Cell
from faq_pipeline.execution.runner import Outcome
from faq_pipeline.orchestration.assets.group_tables import candidates_of, some_seeds
from faq_pipeline.orchestration.assets.stage_asset import stage_asset
from faq_pipeline.regeneration.stage import REGENERATED_CORPUS
from faq_pipeline.store.records import Candidate, Seed
from faq_pipeline.store.tables import read_rows


def build(cells: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The asset."""
    return stage_asset(
        REGENERATED_CORPUS,
        cells,
        description="The candidates of each seed: written by a model with its reasoning, or for controls the"
        " seed itself or random tokens.",
        group="calibration",
        kinds={"transformers", "parquet"},
        describe=_describe,
    )


def _describe(cell: Cell, outcome: Outcome) -> dict[str, Any]:
    candidates = read_rows(outcome.artifact.file("candidates.parquet"), Candidate)
    seeds = read_rows(outcome.inputs[stage_names.SEED_DATA].file("seeds.parquet"), Seed)
    groups = [candidates_of(seed, candidates) for seed in some_seeds(seeds)]
    return {
        "seeds_and_candidates": dg.MetadataValue.md("\n\n".join(groups)),
        "source": cell.recipe.regeneration.source,
        "teacher": cell.teacher.partition if cell.teacher else "none",
    }
