"""The asset `competition_scores`: the experts' scores of each seed's candidates, and which one wins."""

from typing import Any

import dagster as dg

from faq_pipeline.competition.stage import COMPETITION_SCORES
from faq_pipeline.core import stage_names
from faq_pipeline.core.cell import Cell
from faq_pipeline.execution.runner import Outcome
from faq_pipeline.orchestration.assets.group_tables import some_seeds, standings_of
from faq_pipeline.orchestration.assets.metadata import table
from faq_pipeline.orchestration.assets.stage_asset import stage_asset
from faq_pipeline.store.records import Candidate, Score, Seed, Standing
from faq_pipeline.store.tables import read_rows

SCORES = "Scores are z-scores within the group, `-` if the expert abstains; the total is their weighted mean."


def build(cells: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The asset."""
    return stage_asset(
        COMPETITION_SCORES,
        cells,
        description="One candidate of each seed wins: by the experts' scores within its group, or at random."
        " A single usable candidate wins unless its answer is known to be wrong.",
        group="calibration",
        kinds={"transformers", "parquet"},
        describe=_describe,
    )


def _describe(cell: Cell, outcome: Outcome) -> dict[str, Any]:
    standings = read_rows(outcome.artifact.file("standings.parquet"), Standing)
    scores = read_rows(outcome.artifact.file("scores.parquet"), Score)
    candidates = read_rows(
        outcome.inputs[stage_names.REGENERATED_CORPUS].file("candidates.parquet"), Candidate
    )
    seeds = read_rows(outcome.inputs[stage_names.SEED_DATA].file("seeds.parquet"), Seed)
    groups = [standings_of(seed, candidates, standings, scores) for seed in some_seeds(seeds)]
    weights = cell.recipe.competition.experts
    figures = outcome.artifact.metadata["experts"]
    return {
        "winners_beside_losers": dg.MetadataValue.md("\n\n".join([SCORES, *groups])),
        "selection": cell.recipe.competition.selection,
        "mean_scores": table(
            {
                "expert": name,
                "weight": weights.get(name),
                "winners": means["mean_of_winners"],
                "losers": means["mean_of_losers"],
                "abstained": means["abstentions"],
            }
            for name, means in figures.items()
        ),
    }
