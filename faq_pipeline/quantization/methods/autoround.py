"""AutoRound (arXiv 2309.05516): learns roundings and scales by signed gradient descent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from faq_pipeline.config.quantization import Quantization
from faq_pipeline.quantization.schemes import config_groups

BATCH = 8
"""Rows in a step, the library's default: where there are fewer rows, all of them."""

_BY_NAME = ("NVFP4", "MXFP4")
"""Schemes that the library knows by their names alone."""

FLOATS = ("FP8", "FP8_DYNAMIC", *_BY_NAME)
"""Schemes with float weights that it can learn."""


class AutoRound:
    """llmcompressor's AutoRoundModifier with the recipe's number of iterations."""

    name = "autoround"
    calibrated = True
    options: tuple[str, ...] = ()
    variants: tuple[str, ...] = ("iterations", "plan")
    tools = ("auto-round",)
    learns_rounding = True
    time_over_gptq = 31.0
    planned_with: Mapping[str, Any] = {
        "method": "gptq",
        "observer": "imatrix",
        "actorder": "static",
        "dampening": 0.1,
    }

    def modifiers(self, spec: Quantization) -> list[Any]:
        """One modifier; it learns the linear layers of a decoder layer together."""
        from faq_pipeline.quantization.methods.autoround_modifier import AutoRoundModifier

        by_name = spec.scheme in _BY_NAME
        return [
            AutoRoundModifier(
                scheme=spec.scheme if by_name else None,
                config_groups=None if by_name else config_groups(spec),
                ignore=list(spec.ignore),
                iters=spec.iterations,
                batch_size=BATCH,
                # Compiled arithmetic rounds otherwise, by machine and by version of the compiler.
                enable_torch_compile=False,
            )
        ]
