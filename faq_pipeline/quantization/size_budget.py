"""How many bits a weight can have where a bit plan states the size of the checkpoint's files.

Everything but the integers is counted first: tensors that stay as they are (in bf16, as checkpoints hold
them), scales and zero points of each group, and the files' headers. What is left is for the integers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from faq_pipeline.config.quantization import BitPlan, Quantization
from faq_pipeline.errors import FaqError
from faq_pipeline.models.architecture import LinearLayer, architecture_of
from faq_pipeline.models.weights import Weights
from faq_pipeline.quantization.layers import not_ignored, read_tensors
from faq_pipeline.quantization.schemes import SCHEMES
from faq_pipeline.util.file_size import parse_size, written_size

DENSE_BITS = SCALE_BITS = 16
SHAPE_BITS = 2 * 64
"""The shape that is stored beside packed integers."""
LEAST_BITS = 2
WORD = 32
"""Bits of a word of packed integers; a row ends with a whole one."""
HEADER_BITS = 8 * 200
"""Of a tensor's name, type and place in a safetensors file, at most."""


def mean_bits(spec: Quantization, plan: BitPlan, weights: Weights) -> float:
    """The most bits a weight that the plan may have on average.

    Args:
        weights: the target, whose files are here; only their headers are read.

    Raises:
        FaqError: no choice of bits fits in the plan's size, or the unquantized model does.
    """
    if plan.average_bits is not None:
        return plan.average_bits
    assert plan.size is not None
    layers = not_ignored(architecture_of(weights), spec.ignore)
    count = sum(layer.rows * layer.columns for layer in layers)
    fixed = _fixed_bits(spec, plan, weights, layers)

    def size(bits: int) -> str:
        return written_size((fixed + bits * count) / 8)

    found = (8 * parse_size(plan.size) - fixed) / count
    if found < plan.bits[0]:
        fewer = _fewer_bits(plan)
        least = f" (then {size(LEAST_BITS)} at least)" if fewer else ""
        raise FaqError(
            f"{plan.size} is too little for {weights.name!r}: with {plan.bits[0]} bits everywhere its files"
            f" take {size(plan.bits[0])}",
            hint=f"raise it{', take larger groups' if _groups_are_small(spec) else ''}{fewer}{least}",
            key="quantization.plan.size",
        )
    if found > DENSE_BITS:
        raise FaqError(
            f"{plan.size} is more than {weights.name!r} takes unquantized in bf16: with {plan.bits[-1]} bits"
            f" everywhere its files take {size(plan.bits[-1])}",
            hint="lower it",
            key="quantization.plan.size",
        )
    return found


def _fixed_bits(spec: Quantization, plan: BitPlan, weights: Weights, layers: list[LinearLayer]) -> int:
    """Bits of the files but for the integers, at most. Without the files, by the number of parameters."""
    tensors, kept = read_tensors(weights.folder), set(architecture_of(weights).tensors)
    if tensors:
        # A head that is tied and stored all the same, say, is not saved again.
        saved = kept if kept <= tensors.keys() else tensors.keys()
        packed = {f"{layer.stored}.weight" for layer in layers}
        dense = sum(math.prod(tensors[name].shape) for name in saved - packed)
    else:
        dense = max(0, weights.member.parameters - sum(layer.rows * layer.columns for layer in layers))
    headers = HEADER_BITS * (len(tensors or kept) + 3 * len(layers))
    return DENSE_BITS * dense + headers + sum(_beside(spec, plan, layers))


def _beside(spec: Quantization, plan: BitPlan, layers: list[LinearLayer]) -> Iterator[int]:
    """Bits beside each layer's integers: scales, zero points, the shape, and the last word of each row."""
    arguments = SCHEMES.find(spec.scheme).build().weights
    assert arguments is not None
    # A zero point has the bits of its layer.
    each = SCALE_BITS if arguments.symmetric else SCALE_BITS + plan.bits[-1]
    for layer in layers:
        groups = layer.columns // spec.group_size if isinstance(spec.group_size, int) else 1
        last = WORD * layer.rows if layer.columns % WORD else 0
        if not arguments.symmetric and layer.rows % WORD:
            last += WORD * groups  # zero points are packed along rows
        yield layer.rows * groups * each + SHAPE_BITS + last


def _fewer_bits(plan: BitPlan) -> str:
    """What allows fewer bits; "" where there are none."""
    if plan.bits[0] == LEAST_BITS:
        return ""
    bits = ", ".join(map(str, [*range(LEAST_BITS, plan.bits[0]), *plan.bits]))
    return f" or allow fewer bits: quantization.plan.bits=[{bits}]"


def _groups_are_small(spec: Quantization) -> bool:
    return isinstance(spec.group_size, int) and spec.group_size < 128
