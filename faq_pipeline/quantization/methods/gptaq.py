"""GPTAQ (arXiv 2504.02692): GPTQ that aims at the outputs of the unquantized model."""

from __future__ import annotations

from typing import Any

from faq_pipeline.config.quantization import Quantization
from faq_pipeline.quantization.methods.gptq import Gptq


class Gptaq:
    """GPTQ with a term for what earlier layers' rounding did to each layer's inputs."""

    name = "gptaq"
    calibrated = True
    options: tuple[str, ...] = Gptq.options
    variants: tuple[str, ...] = tuple(name for name in Gptq.variants if name != "ranks")

    def modifiers(self, spec: Quantization) -> list[Any]:
        """One modifier, which sends each row through the unquantized model too."""
        from faq_pipeline.quantization.solvers.asymmetric import Asymmetric
        from faq_pipeline.quantization.solvers.two_streams import two_stream_modifiers

        return two_stream_modifiers(spec, Asymmetric())
