"""decoupleQ (arXiv 2404.12759): a layer's integers and scales in turn, each the best for the other."""

from __future__ import annotations

from typing import Any

from faq_pipeline.config.quantization import Quantization
from faq_pipeline.errors import FaqError
from faq_pipeline.quantization.methods.gptq import Gptq
from faq_pipeline.quantization.schemes import SCHEMES, has_zero_points


class DecoupleQ:
    """QuantEase, then rounds of fitted scales and new integers. The observer's scales are the start."""

    name = "decoupleq"
    time_over_gptq = 23.0
    calibrated = True
    options: tuple[str, ...] = Gptq.options
    variants: tuple[str, ...] = tuple(name for name in Gptq.variants if name != "ranks")

    def modifiers(self, spec: Quantization) -> list[Any]:
        """One modifier, GPTQ's with another solver."""
        from faq_pipeline.quantization.solvers.decoupled import Decoupled
        from faq_pipeline.quantization.solvers.modifier import solver_modifiers

        return solver_modifiers(spec, Decoupled())


def check_fitted_scales(spec: Quantization) -> None:
    """Refuse schemes whose scales this method cannot fit.

    Raises:
        FaqError: weights are floats, or have zero points.
    """
    if spec.method != DecoupleQ.name:
        return
    kind = ""
    if SCHEMES.find(spec.scheme).float_weights:
        kind = "floats"
    elif has_zero_points(spec.scheme):
        kind = "integers with zero points"
    if kind:
        raise FaqError(
            f"method {spec.method!r} cannot quantize with {spec.scheme!r}: its weights are {kind}",
            hint="use a scheme such as W4A16, or method quantease",
            key="quantization.scheme",
        )
