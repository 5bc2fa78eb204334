"""Keys and values rounded before they are cached: half the memory of a long context."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from faq_pipeline.config.quantization import Quantization
from faq_pipeline.errors import FaqError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PROJECTIONS = (".k_proj", ".v_proj", ".qkv_proj")
"""What compressed-tensors knows an attention layer by."""
_HINT = "remove quantization.kv_cache, or take a member whose attention has k_proj and v_proj"


def kv_cache_scheme(spec: Quantization) -> dict[str, Any]:
    """The argument of llmcompressor's modifiers; nothing where the cache stays as it is.

    `fp8`: floats of 8 bits (e4m3), one scale for the keys and one for the values of each layer, found on
    the calibration set. It is the form that vLLM reads.
    """
    if spec.kv_cache is None:
        return {}
    from compressed_tensors.quantization import QuantizationArgs

    args = {"num_bits": 8, "type": "float", "strategy": "tensor", "symmetric": True, "dynamic": False}
    return {"kv_cache_scheme": QuantizationArgs.model_validate(args)}


def check_kv_cache(spec: Quantization, name: str, modules: Iterable[str]) -> None:
    """Refuse a cache to round where no layer has one that is known.

    Args:
        name: of the model, for the message.
        modules: names of its linear layers.

    Raises:
        FaqError: see above.
    """
    if spec.kv_cache is not None and not any(module.endswith(PROJECTIONS) for module in modules):
        raise FaqError(
            f"{name} has no attention layer whose keys and values can be rounded",
            hint=_HINT,
            key="quantization.kv_cache",
        )


def check_cached_attention(spec: Quantization, model: PreTrainedModel) -> None:
    """As `check_kv_cache`, of a model that is loaded.

    Raises:
        FaqError: llmcompressor would round nothing, without a word.
    """
    if spec.kv_cache is None:
        return
    from compressed_tensors.quantization.lifecycle.initialize import is_cached_attention_module

    if not any(is_cached_attention_module(module) for module in model.modules()):
        raise FaqError(
            f"{type(model).__name__} has no attention layer with a cache that can be rounded", hint=_HINT
        )
