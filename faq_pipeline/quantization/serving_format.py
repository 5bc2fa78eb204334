"""The form in which vLLM serves a checkpoint: packed, or expanded to dense weights."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Literal

from faq_pipeline.config.recipe import Quantization
from faq_pipeline.quantization.schemes import SCHEMES, widths

Form = Literal["packed", "dense"]

GPU_BITS, CPU_BITS = (4, 8), (4,)
"""Bits of weights that vLLM has kernels for. With rounded activations a CPU has one for W8A8 alone."""
X86 = ("x86_64", "AMD64")


def has_kernel(spec: Quantization, device: str) -> bool:
    """Whether vLLM reads the packed weights of a recipe's checkpoint on this machine's device."""
    scheme, bits = SCHEMES.find(spec.scheme), widths(spec)
    if device != "cpu":
        # vLLM 0.24 refuses int8 weights with a scale per group where activations are int8, too.
        grouped_int8 = scheme.name == "W8A8" and isinstance(spec.group_size, int)
        return bits <= {*GPU_BITS} and not grouped_int8
    if scheme.float_weights:
        return False
    if scheme.activation_bits < 16:
        return scheme.activation_bits == 8 and bits == {8}
    return bits <= {*CPU_BITS} and cpu_reads_packed()


def served_as(spec: Quantization, device: str) -> Form:
    """How a recipe's checkpoint is handed to vLLM on this machine.

    Where only the weights are integers and vLLM has no kernel for them, they are made dense: the
    same numbers in bf16, at the memory and speed of the unquantized model. Where activations or the
    cache are rounded too they stay packed, since dense weights alone would be another model.
    """
    return "dense" if is_weight_only(spec) and not has_kernel(spec, device) else "packed"


def is_weight_only(spec: Quantization) -> bool:
    """Whether dense weights alone are the same model: nothing else is rounded."""
    return SCHEMES.find(spec.scheme).activation_bits == 16 and spec.kv_cache is None


def cpu_reads_packed() -> bool:
    """vLLM's CPU kernels for packed weights are compiled for x86 with AVX-512 alone."""
    if platform.machine() not in X86:
        return False
    try:
        return " avx512f " in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
