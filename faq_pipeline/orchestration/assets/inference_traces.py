"""The asset `inference_traces`: the target's own generations on development prompts."""

from collections import Counter
from typing import Any

import dagster as dg

from faq_pipeline.core.cell import Cell
from faq_pipeline.execution.runner import Outcome
from faq_pipeline.orchestration.assets.stage_asset import stage_asset
from faq_pipeline.regeneration.traces_stage import INFERENCE_TRACES
from faq_pipeline.store.records import Trace
from faq_pipeline.store.tables import read_rows


def build(cells: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The asset."""
    return stage_asset(
        INFERENCE_TRACES,
        cells,
        description="The target's own generations on development prompts: what calibration data should"
        " look like. Fitness and selection may use nothing else.",
        group="target",
        kinds={"transformers", "parquet"},
        describe=_describe,
    )


def _describe(cell: Cell, outcome: Outcome) -> dict[str, Any]:
    traces = read_rows(outcome.artifact.file("traces.parquet"), Trace)
    domains = Counter(trace.domain for trace in traces)
    return {"by_domain": ", ".join(f"{name} {count}" for name, count in sorted(domains.items()))}
