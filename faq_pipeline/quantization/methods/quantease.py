"""QuantEase (arXiv 2309.01885): coordinate descent on a layer's integers, from GPTQ's."""

from __future__ import annotations

from typing import Any

from faq_pipeline.config.quantization import Quantization
from faq_pipeline.quantization.methods.gptq import Gptq


class QuantEase:
    """GPTQ, then sweeps over the columns that lower the layer's error further."""

    name = "quantease"
    calibrated = True
    options: tuple[str, ...] = Gptq.options
    variants: tuple[str, ...] = Gptq.variants

    def modifiers(self, spec: Quantization) -> list[Any]:
        """One modifier, GPTQ's with another solver."""
        from faq_pipeline.quantization.solvers.coordinate_descent import CoordinateDescent
        from faq_pipeline.quantization.solvers.modifier import solver_modifiers

        return solver_modifiers(spec, CoordinateDescent())
