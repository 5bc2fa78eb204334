"""The asset `quantized_checkpoint`: the target with quantized weights."""

from dataclasses import asdict
from typing import Any

import dagster as dg

from faq_pipeline.core.cell import Cell
from faq_pipeline.execution.runner import Outcome
from faq_pipeline.orchestration.assets.metadata import long_table
from faq_pipeline.orchestration.assets.stage_asset import stage_asset
from faq_pipeline.quantization.serving_format import has_kernel, serve_command
from faq_pipeline.quantization.stage import LAYERS, QUANTIZED_CHECKPOINT
from faq_pipeline.store.records import QuantizedLayer
from faq_pipeline.store.tables import read_rows


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
    spec, folder = cell.recipe.quantization, outcome.artifact.file("checkpoint")
    served = serve_command(spec, folder) if has_kernel(spec, "cuda") else None
    layers = outcome.artifact.file(LAYERS)
    # Artifacts of earlier versions have no layer report.
    rows = read_rows(layers, QuantizedLayer) if layers.is_file() else []
    return {
        "base_model": _base(cell),
        "how_to_serve": served or "load it with transformers; vLLM has no kernel",
        "method": spec.method,
        "scheme": spec.scheme,
        "group_size": str(spec.group_size or "fixed"),
        "checkpoint": dg.MetadataValue.path(str(folder)),
        "layers": long_table(map(asdict, rows)),
    }


def _base(cell: Cell) -> str | dg.MetadataValue:
    """The unquantized member: a link to its commit on the hub, or its partition where it is a folder."""
    from huggingface_hub.constants import ENDPOINT

    hub = cell.target.member.hub
    return (
        dg.MetadataValue.url(f"{ENDPOINT}/{hub}/tree/{cell.target.digest}") if hub else cell.target.partition
    )
