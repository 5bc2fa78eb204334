"""Round-to-nearest: each weight to the nearest integer step, without any data."""

from __future__ import annotations

from typing import Any

from faq_pipeline.config.recipe import Quantization
from faq_pipeline.quantization.schemes import config_groups


class Rtn:
    """Round-to-nearest, the control that no calibration set can help."""

    name = "rtn"
    calibrated = False
    options: tuple[str, ...] = ()
    variants: tuple[str, ...] = ("plan",)

    def modifiers(self, spec: Quantization) -> list[Any]:
        """One data-free QuantizationModifier."""
        from llmcompressor.modifiers.quantization import QuantizationModifier

        return [QuantizationModifier(config_groups=config_groups(spec), ignore=list(spec.ignore))]
