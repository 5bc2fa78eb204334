"""Quantization schemes: presets of compressed-tensors with the recipe's group size."""

from __future__ import annotations

import difflib
import re
from typing import Any

from faq_pipeline.config.recipe import Quantization
from faq_pipeline.errors import FaqError

_INTEGER = [
    f"W{weights}A{activations}" for activations in (16, 8, 4) for weights in range(2, min(activations, 8) + 1)
]
SCHEMES: tuple[str, ...] = (*_INTEGER, "W4A16_ASYM", "W4AFP8")
"""Presets with integer weights: the ones whose groups a recipe may choose. Named here, and not asked
of compressed-tensors, so that a plan need not load torch. Floating-point presets fix their own."""


def check_scheme(name: str) -> None:
    """Refuse a scheme that is not one of `SCHEMES`.

    Raises:
        FaqError: suggests the nearest and names the known ones.
    """
    if name in SCHEMES:
        return
    near = difflib.get_close_matches(name.upper(), SCHEMES, n=len(SCHEMES), cutoff=0.6)
    # Among equally similar names, suggest the one with the same bits rather than the same letters.
    near.sort(key=lambda scheme: bits(scheme) != bits(name))
    suggestion = f"did you mean {near[0]!r}? " if near else ""
    raise FaqError(
        f"unknown scheme {name!r}",
        hint=f"{suggestion}known: {', '.join(SCHEMES)}",
        key="quantization.scheme",
    )


def bits(scheme: str) -> list[int]:
    """The numbers in a scheme's name: of bits, weights first."""
    return [int(number) for number in re.findall(r"\d+", scheme)]


def config_groups(spec: Quantization) -> dict[str, Any]:
    """The recipe's scheme for all linear layers, as `config_groups` of llmcompressor's modifiers.

    Activations are as the preset says; weight scales are per output channel, or per group of
    `group_size` columns.

    Raises:
        FaqError: unknown scheme.
    """
    from compressed_tensors.quantization import QuantizationArgs, preset_name_to_scheme

    check_scheme(spec.scheme)
    scheme = preset_name_to_scheme(spec.scheme, ["Linear"])
    assert scheme.weights is not None
    fields = scheme.weights.model_dump(exclude={"strategy", "group_size", "scale_dtype", "zp_dtype"})
    if spec.group_size == "channel":
        fields |= {"strategy": "channel"}
    else:
        fields |= {"strategy": "group", "group_size": spec.group_size}
    weights = QuantizationArgs(**fields)
    return {"group_0": scheme.model_copy(update={"weights": weights})}
