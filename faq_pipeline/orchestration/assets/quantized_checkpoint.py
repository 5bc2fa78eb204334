"""The asset `quantized_checkpoint`: the target with quantized weights."""

from typing import Any

import dagster as dg

from faq_pipeline.core.cell import Cell
from faq_pipeline.execution.runner import Outcome
from faq_pipeline.orchestration.assets.stage_asset import stage_asset
from faq_pipeline.quantization.stage import QUANTIZED_CHECKPOINT


def build(cells: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The asset."""
    return stage_asset(
        QUANTIZED_CHECKPOINT,
        cells,
        description="A folder that transformers can load, and vLLM where it has kernels for the scheme; made"
        " with llmcompressor's oneshot.",
        group="quantization",
        kinds={"llmcompressor", "safetensors"},
        describe=_describe,
    )


def _describe(cell: Cell, outcome: Outcome) -> dict[str, Any]:
    spec = cell.recipe.quantization
    return {
        "method": spec.method,
        "scheme": spec.scheme,
        "group_size": str(spec.group_size or "fixed"),
        "checkpoint": dg.MetadataValue.path(str(outcome.artifact.file("checkpoint"))),
    }
