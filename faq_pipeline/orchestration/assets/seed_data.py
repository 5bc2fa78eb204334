"""The asset `seed_data`: the seed samples of the recipe's draw."""

from collections import Counter
from typing import Any

import dagster as dg

from faq_pipeline.core.cell import Cell
from faq_pipeline.execution.runner import Outcome
from faq_pipeline.orchestration.assets.group_tables import some_seeds
from faq_pipeline.orchestration.assets.metadata import long_table
from faq_pipeline.orchestration.assets.stage_asset import stage_asset
from faq_pipeline.regeneration.seed_stage import SEED_DATA
from faq_pipeline.store.records import Seed
from faq_pipeline.store.tables import read_rows


def build(cells: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The asset."""
    return stage_asset(
        SEED_DATA,
        cells,
        description="Seed samples drawn for the recipe, balanced over domains.",
        group="calibration",
        kinds={"parquet"},
        describe=_describe,
    )


def _describe(cell: Cell, outcome: Outcome) -> dict[str, Any]:
    seeds = read_rows(outcome.artifact.file("seeds.parquet"), Seed)
    domains = Counter(seed.domain for seed in seeds)
    licences = Counter(seed.licence for seed in seeds)
    return {
        "domains": ", ".join(f"{name} {count}" for name, count in domains.most_common()),
        "licences": ", ".join(sorted(licences)),
        "first_seeds": long_table(
            [
                {"id": s.id, "kind": s.kind, "text": s.text, "given answer": s.answer}
                for s in some_seeds(seeds)
            ]
        ),
    }
