"""`competition_scores`: the candidates of each seed under the experts, winners beside losers."""

from typing import Any

import dagster as dg

from faq_pipeline.assets.stage_asset import stage_asset, table
from faq_pipeline.cell import Cell
from faq_pipeline.competition.stage import COMPETITION_SCORES
from faq_pipeline.records import Standing, read_rows
from faq_pipeline.runner import Outcome


def build(cells: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The asset."""
    return stage_asset(
        COMPETITION_SCORES,
        cells,
        description="Candidates scored by experts, compared within their group; the best survive.",
        group="calibration",
        kinds={"parquet"},
        gpu=True,
        describe=_describe,
    )


def _describe(cell: Cell, outcome: Outcome) -> dict[str, Any]:
    standings = read_rows(outcome.artifact.file("standings.parquet"), Standing)
    seeds = list(dict.fromkeys(s.seed_id for s in standings))[:4]
    shown = sorted(
        (s for s in standings if s.seed_id in seeds), key=lambda s: (seeds.index(s.seed_id), s.place)
    )
    return {
        "experts": ", ".join(f"{n} x {w:g}" for n, w in cell.recipe.competition.experts.items()) or "random",
        "winners_beside_losers": table(
            [
                {
                    "seed": s.seed_id,
                    "candidate": s.candidate_id,
                    "place": s.place,
                    "total": s.total,
                    "": "winner" if s.winner else "",
                }
                for s in shown
            ]
        ),
    }
