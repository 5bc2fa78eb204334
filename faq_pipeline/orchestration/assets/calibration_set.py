"""The asset `calibration_set`: winners in one template, length and token budget, with their fitness."""

from typing import Any

import dagster as dg

from faq_pipeline.calibration.stage import CALIBRATION_SET
from faq_pipeline.core.cell import Cell
from faq_pipeline.execution.runner import Outcome
from faq_pipeline.orchestration.assets.metadata import long_table
from faq_pipeline.orchestration.assets.plots import by_layer, picture
from faq_pipeline.orchestration.assets.stage_asset import stage_asset
from faq_pipeline.store.records import Sample
from faq_pipeline.store.tables import read_rows

ROUTED = "{idle} of {experts} experts get no token; the least {least}, the median {median}"


def build(cells: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The asset."""
    return stage_asset(
        CALIBRATION_SET,
        cells,
        description="Winners in the recipe's template, packed into rows within the token budget, balanced"
        " over domains. Its fitness is measured before anything is quantized.",
        group="calibration",
        kinds={"transformers", "parquet"},
        describe=_describe,
    )


def _describe(cell: Cell, outcome: Outcome) -> dict[str, Any]:
    samples = read_rows(outcome.artifact.file("samples.parquet"), Sample)
    shown = [{"seed": s.seed_id, "domain": s.domain, "tokens": s.tokens, "text": s.text} for s in samples[:4]]
    shares, routed = (
        outcome.artifact.metadata["domain_shares"],
        outcome.artifact.metadata.get("routed_tokens"),
    )
    layers = {row["layer"]: row["mismatch"] for row in outcome.artifact.metadata["fitness_by_layer"]}
    return {
        **({"routed_tokens": ROUTED.format(**routed)} if routed else {}),
        "selection": cell.recipe.calibration.selection,
        **({"fitness_by_layer": by_layer(layers)} if layers else {}),
        "fitness_by_layer_and_module": picture(outcome.artifact.file("fitness.png")),
        "first_samples": long_table(shown),
        "domain_shares": ", ".join(f"{name} {share:.1%}" for name, share in shares.items()),
    }
