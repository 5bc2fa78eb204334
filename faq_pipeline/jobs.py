"""Jobs: the main one quantizes a cell; the other compares a member's recipes."""

from typing import Any

import dagster as dg

QUANTIZE = "quantize"
COMPARE = "compare"


def build_jobs() -> list[Any]:
    """Both jobs."""
    comparison = dg.AssetSelection.assets("recipe_comparison")
    return [
        dg.define_asset_job(
            QUANTIZE,
            selection=dg.AssetSelection.all() - comparison,
            description="From seed to report, for one member and one recipe.",
        ),
        dg.define_asset_job(
            COMPARE, selection=comparison, description="All evaluated recipes of a member, beside each other."
        ),
    ]
