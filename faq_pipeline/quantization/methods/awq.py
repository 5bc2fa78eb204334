"""AWQ (arXiv 2306.00978): scales salient channels up before they are rounded to nearest."""

from __future__ import annotations

from typing import Any

from faq_pipeline.config.quantization import Quantization
from faq_pipeline.quantization.methods.rtn import Rtn

POINTS = 19
"""Exponents from 0 to 1 that the search tries in each form of the scales."""


class Awq:
    """AWQ's scales, searched on the calibration set, then round-to-nearest."""

    name = "awq"
    calibrated = True
    options: tuple[str, ...] = ()
    variants: tuple[str, ...] = ("kv_cache", "duo_scaling")

    def modifiers(self, spec: Quantization) -> list[Any]:
        """AWQModifier (a transform only), then the modifier of round-to-nearest."""
        from llmcompressor.modifiers.transform.awq import AWQModifier

        search = AWQModifier(duo_scaling=spec.duo_scaling, n_grid=_grid(spec.duo_scaling))
        return [search, *Rtn().modifiers(spec)]


def _grid(form: object) -> int:
    """llmcompressor's `n_grid`, so that `both` tries all that either form alone tries.

    It shares `n_grid` out between the two forms, and spends one point of duo scaling on no scaling. With
    its default of 20, `both` would try each form at half of the exponents.
    """
    return 2 * POINTS if form == "both" else POINTS + int(form is True)
