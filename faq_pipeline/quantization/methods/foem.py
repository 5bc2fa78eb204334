"""FOEM, First-Order Error Matters (arXiv 2507.11017): GPTQ that counts the loss's slope too."""

from __future__ import annotations

from typing import Any

from faq_pipeline.config.quantization import Quantization
from faq_pipeline.quantization.methods.gptq import Gptq


class Foem:
    """GPTQ with a step along the slope that handed-on errors make."""

    name = "foem"
    calibrated = True
    options: tuple[str, ...] = Gptq.options
    variants: tuple[str, ...] = tuple(name for name in Gptq.variants if name != "ranks")

    def modifiers(self, spec: Quantization) -> list[Any]:
        """One modifier, GPTQ's with another solver."""
        from faq_pipeline.quantization.solvers.first_order import FirstOrder
        from faq_pipeline.quantization.solvers.modifier import solver_modifiers

        return solver_modifiers(spec, FirstOrder())
