"""Prepares a model in memory so that llmcompressor finds the layers to quantize, and no others."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from faq_pipeline.config.quantization import Quantization
from faq_pipeline.models.architecture import QUANTIZABLE
from faq_pipeline.models.fused_experts import fused_experts, single_expert_conversions
from faq_pipeline.models.linear_parts import linear_parts
from faq_pipeline.quantization.layers import is_ignored
from faq_pipeline.quantization.rotation import rotate
from faq_pipeline.util.attributes import replaced_attribute

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def prepare(model: PreTrainedModel, spec: Quantization) -> Quantization:
    """Rotate the model where the recipe says so, and split fused experts into linear layers where they are
    quantized.

    Returns:
        The recipe's section whose `ignore` names routers, towers and a head tied to the embedding too.
    """
    alone = [name for name, part in linear_parts(model).items() if part not in QUANTIZABLE]
    alone += tied_heads(model)
    if spec.rotate:
        rotate(model)
    layers = [name for experts in fused_experts(model) for name in experts.layers()]
    if not all(is_ignored(name, spec.ignore) for name in layers):
        _split_experts(model)
    return spec.model_copy(update={"ignore": [*spec.ignore, *alone]}) if alone else spec


def tied_heads(model: PreTrainedModel) -> list[str]:
    """The name of a head whose weight is the embedding's: rounding it would round the embedding."""
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None or head.weight is not embedding.weight:
        return []
    return [name for name, module in model.named_modules() if module is head]


@contextmanager
def experts_as_prepared() -> Iterator[None]:
    """llmcompressor splits no experts by itself: those that stay fused are not to be quantized."""
    import llmcompressor.entrypoints.oneshot  # noqa: F401 (the package has a function of that name)

    module = sys.modules["llmcompressor.entrypoints.oneshot"]
    with replaced_attribute(module, "get_non_linearized_moes", lambda model: []):
        yield


def _split_experts(model: PreTrainedModel) -> None:
    """Replace fused experts by linear layers, and let them be saved under the names that load."""
    from llmcompressor.modeling.moe.linearize import linearize_moe

    conversions: Any = single_expert_conversions(model)
    linearize_moe(model)
    model._weight_conversions = conversions
