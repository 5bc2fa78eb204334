"""Refuses groups of columns that a scheme or a target's layers do not have."""

from __future__ import annotations

import math
from collections.abc import Mapping

from faq_pipeline.config.quantization import Quantization
from faq_pipeline.errors import FaqError
from faq_pipeline.quantization.layer_check import line_to_add
from faq_pipeline.quantization.schemes import SCHEMES

GROUPS = (128, 64, 32, 16)
"""Group sizes to suggest: those that inference kernels know, largest first."""


def check_groups_chosen(spec: Quantization) -> None:
    """Check that a recipe chooses the groups of integer weights, and neither groups nor scales of floats.

    Raises:
        FaqError: see above.
    """
    if not SCHEMES.find(spec.scheme).float_weights:
        if spec.group_size is None:
            raise FaqError(
                f"scheme {spec.scheme!r} needs a group_size",
                hint="128, or channel for one scale a row",
                key="quantization.scheme",
            )
    elif spec.plan is not None or spec.layer_bits is not None:
        raise FaqError(
            f"the bits of {spec.scheme!r} are fixed by its format",
            hint="use a scheme with integer weights, such as W4A16",
            key="quantization.scheme",
        )
    elif spec.group_size is not None:
        raise FaqError(
            f"the groups of {spec.scheme!r} are fixed by its format",
            hint="group_size: null",
            key="quantization.group_size",
        )
    elif spec.observer != "minmax":
        raise FaqError(
            f"observer {spec.observer!r} searches scales of integer weights, and {spec.scheme!r} has none",
            hint="remove it",
            key="quantization.observer",
        )


def check_groups(spec: Quantization, columns: Mapping[str, int]) -> None:
    """Check that groups divide every layer's columns.

    Args:
        columns: by module, of the layers that are quantized.

    Raises:
        FaqError: see above.
    """
    if isinstance(spec.group_size, int):
        _check_chosen(spec, columns)
    if SCHEMES.find(spec.scheme).float_weights:
        _check_fixed(spec, columns)


def _check_chosen(spec: Quantization, columns: Mapping[str, int]) -> None:
    """`columns` by module; every one must be a multiple of the group size."""
    size = spec.group_size
    assert isinstance(size, int)
    wrong = [name for name, count in columns.items() if count % size]
    if not wrong:
        return
    shared = math.gcd(*columns.values())
    working = [str(group) for group in GROUPS if shared % group == 0] or [str(shared)]
    others = f" (and of {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    leave_out = f"; or {line_to_add(spec, wrong)}" if 2 * len(wrong) < len(columns) else ""
    raise FaqError(
        f"group_size {size} does not divide the {columns[wrong[0]]} columns of {wrong[0]}{others}",
        hint=f"group sizes that work: {', '.join([*working, 'channel'])}{leave_out}",
        key="quantization.group_size",
    )


def _check_fixed(spec: Quantization, columns: Mapping[str, int]) -> None:
    """Groups that the scheme's format fixes divide every layer's columns, by module."""
    scheme = SCHEMES.find(spec.scheme).build()
    parts = [part for part in (scheme.weights, scheme.input_activations) if part is not None]
    size = max((part.group_size for part in parts if part.group_size), default=1)
    if wrong := [name for name, count in columns.items() if count % size]:
        others = f" (and of {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        leave_out = f", or {line_to_add(spec, wrong)}" if len(wrong) < len(columns) else ""
        raise FaqError(
            f"the groups of {size} of {spec.scheme!r} do not divide the {columns[wrong[0]]} columns of"
            f" {wrong[0]}{others}",
            hint=f"use a scheme such as FP8_DYNAMIC{leave_out}",
            key="quantization.scheme",
        )
