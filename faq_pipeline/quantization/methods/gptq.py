"""GPTQ (arXiv 2210.17323): rounds column by column, the rest making up for each error."""

from __future__ import annotations

from typing import Any

from faq_pipeline.config.quantization import Quantization
from faq_pipeline.quantization.kv_cache import kv_cache_scheme
from faq_pipeline.quantization.schemes import config_groups
from faq_pipeline.quantization.token_weights import is_weighted


class Gptq:
    """GPTQ with the recipe's column order, dampening, and weights of samples and tokens."""

    name = "gptq"
    calibrated = True
    options: tuple[str, ...] = ("actorder", "dampening")
    variants: tuple[str, ...] = (
        "sample_weights",
        "token_weights",
        "ranks",
        "plan",
        "kv_cache",
        "compensation",
    )

    def modifiers(self, spec: Quantization) -> list[Any]:
        """One GPTQModifier, weighted where the recipe says so."""
        from llmcompressor.modifiers.gptq import GPTQModifier

        from faq_pipeline.quantization.methods.weighted_gptq import WeightedGPTQModifier

        kind = WeightedGPTQModifier if is_weighted(spec) else GPTQModifier
        return [kind(**settings(spec))]


def settings(spec: Quantization) -> dict[str, Any]:
    """Arguments of a GPTQModifier, or of one that is derived from it."""
    return {
        "config_groups": config_groups(spec),
        "ignore": list(spec.ignore),
        # Given even where it is None: llmcompressor's own default is "static".
        "actorder": spec.actorder,
        "dampening_frac": spec.dampening,
        # Its default batches layers by the GPU memory that happens to be free, and batched
        # linear algebra rounds differently: two runs would not give equal bytes.
        "batched_quantization": None,
        **kv_cache_scheme(spec),
    }
