"""The layer report of a checkpoint: each layer's bits and what rounding did to it."""

from __future__ import annotations

from collections.abc import Mapping

from faq_pipeline.config.quantization import Quantization
from faq_pipeline.models.architecture import architecture_of
from faq_pipeline.models.weights import Weights
from faq_pipeline.quantization.layer_log import LayerLog
from faq_pipeline.quantization.layers import not_ignored
from faq_pipeline.quantization.schemes import SCHEMES, with_exact_names
from faq_pipeline.store.records import QuantizedLayer


def quantized_layers(
    spec: Quantization, target: Weights, log: LayerLog, stored: Mapping[str, int]
) -> list[QuantizedLayer]:
    """A row for each layer that the recipe quantizes, in the model's order.

    Args:
        spec: the recipe's section; bits of a plan stand in `layer_bits`.
        log: of the run that quantized it.
        stored: bits that the checkpoint has of each layer. One that was left out, which the stage's checks
            report, has none.
    """
    layers = not_ignored(architecture_of(target), spec.ignore)
    exact = with_exact_names(spec, [layer.module for layer in layers]).layer_bits or {}
    own, failed = SCHEMES.find(spec.scheme).weight_bits, set(log.fallback)
    return [
        QuantizedLayer(
            layer.module,
            layer.rows * layer.columns,
            exact.get(layer.module, own),
            log.tokens.get(layer.module, 0) if log.tokens else None,
            log.errors.get(layer.module),
            layer.module in failed,
            found / (layer.rows * layer.columns) if (found := stored.get(layer.module)) else None,
            log.compensated.get(layer.module),
        )
        for layer in layers
    ]
