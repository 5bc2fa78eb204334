"""Round-to-nearest: each weight to the nearest integer step, without any data."""

from __future__ import annotations

from typing import Any

from faq_pipeline.config.quantization import Quantization
from faq_pipeline.quantization.kv_cache import kv_cache_scheme
from faq_pipeline.quantization.schemes import config_groups


class Rtn:
    """Round-to-nearest, the control that no calibration set can help."""

    name = "rtn"
    calibrated = False
    options: tuple[str, ...] = ()
    variants: tuple[str, ...] = ("plan", "kv_cache")

    def modifiers(self, spec: Quantization) -> list[Any]:
        """One QuantizationModifier; it looks at no data unless activations or the cache have scales."""
        from llmcompressor.modifiers.quantization import QuantizationModifier

        return [
            QuantizationModifier(
                config_groups=config_groups(spec), ignore=list(spec.ignore), **kv_cache_scheme(spec)
            )
        ]
