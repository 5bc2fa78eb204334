"""AWQ (arXiv 2306.00978): scales salient channels up before they are rounded to nearest."""

from __future__ import annotations

from typing import Any

from faq_pipeline.config.recipe import Quantization
from faq_pipeline.quantization.methods.rtn import Rtn


class Awq:
    """AWQ's scales, searched on the calibration set, then round-to-nearest."""

    name = "awq"
    calibrated = True
    options: tuple[str, ...] = ()
    variants: tuple[str, ...] = ("kv_cache",)

    def modifiers(self, spec: Quantization) -> list[Any]:
        """AWQModifier (a transform only), then the modifier of round-to-nearest."""
        from llmcompressor.modifiers.transform.awq import AWQModifier

        return [AWQModifier(), *Rtn().modifiers(spec)]
