"""A quantization method: GPTQ with the dampening that suits small calibration sets."""

from __future__ import annotations

from typing import Any

from faq_pipeline.config.quantization import Quantization
from faq_pipeline.quantization.schemes import config_groups


class DampedGptq:
    """GPTQ whose Hessian is dampened by a tenth of its mean diagonal."""

    name = "damped-gptq"
    calibrated = True
    options: tuple[str, ...] = ("actorder",)
    variants: tuple[str, ...] = ()

    def modifiers(self, spec: Quantization) -> list[Any]:
        """One GPTQModifier."""
        from llmcompressor.modifiers.gptq import GPTQModifier

        return [
            GPTQModifier(
                config_groups=config_groups(spec),
                ignore=list(spec.ignore),
                actorder=spec.actorder,
                dampening_frac=0.1,
                batched_quantization=None,
            )
        ]


DAMPED_GPTQ = DampedGptq()
