"""SmoothQuant (arXiv 2211.10438): moves outliers from activations into weights, then GPTQ."""

from __future__ import annotations

from typing import Any

from faq_pipeline.config.quantization import Quantization
from faq_pipeline.quantization.methods.gptq import Gptq


class SmoothQuant:
    """SmoothQuant with the recipe's form and strength, then GPTQ."""

    name = "smoothquant"
    calibrated = True
    options: tuple[str, ...] = ("smoothing", *Gptq.options)
    variants: tuple[str, ...] = (
        "smoothing_form",
        *(name for name in Gptq.variants if name not in ("ranks", "plan")),
    )

    def modifiers(self, spec: Quantization) -> list[Any]:
        """SmoothQuantModifier (a transform only), then the modifier of GPTQ."""
        from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

        from faq_pipeline.quantization.methods.activation_smoothing import ActivationSmoothingModifier

        kind = ActivationSmoothingModifier if spec.smoothing_form == "activations" else SmoothQuantModifier
        smooth = kind(
            smoothing_strength=spec.smoothing,
            algorithm="log_equalization" if spec.smoothing_form == "log" else "smoothquant",
        )
        return [smooth, *Gptq().modifiers(spec)]
