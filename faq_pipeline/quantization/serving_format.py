"""The form in which vLLM serves a checkpoint: packed, or expanded to dense weights; and how it is started."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Literal

from faq_pipeline.config.quantization import OUTLIER_COLUMNS, Quantization
from faq_pipeline.quantization.layers import ADAPTER
from faq_pipeline.quantization.schemes import SCHEMES, widths

Form = Literal["packed", "dense"]

GPU_BITS, CPU_BITS = (4, 8), (4,)
"""Bits of weights that vLLM has kernels for. With rounded activations a CPU has one for W8A8 alone."""
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM's `--max-lora-rank` can be, of 8 and more."""
LORA_NAME = "compensated"
"""What a request calls the model with its adapter, where vLLM serves the packed weights."""
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


def scheme_in_words(spec: Quantization) -> str:
    """The scheme of a recipe, with the widths of layers where these differ."""
    bits = sorted(widths(spec))
    return spec.scheme if len(bits) == 1 else f"{spec.scheme} with layers of {', '.join(map(str, bits))} bits"


def served_as(spec: Quantization, device: str) -> Form:
    """How a recipe's checkpoint is handed to vLLM on this machine.

    Where only the weights are integers and vLLM has no kernel for them, they are made dense: the
    same numbers in bf16, at the memory and speed of the unquantized model. Where activations or the
    cache are rounded too they stay packed, since dense weights alone would be another model. Weights with
    an adapter are made dense whatever the kernels, and the adapter is added to them.
    """
    if spec.compensation is not None:
        return "dense"
    return "dense" if is_weight_only(spec) and not has_kernel(spec, device) else "packed"


def serve_command(spec: Quantization, folder: Path | str) -> str:
    """The command that serves a recipe's checkpoint, which vLLM has a kernel for, from a folder.

    With an adapter, requests must name `LORA_NAME` as their model: vLLM keeps the name of the folder for
    the weights without it.
    """
    if spec.compensation is None:
        return f"vllm serve {folder}"
    rank = next(rank for rank in LORA_RANKS if rank >= spec.compensation.rank)
    adapter = ADAPTER if str(folder) == "." else f"{folder}/{ADAPTER}"
    return f"vllm serve {folder} --enable-lora --max-lora-rank {rank} --lora-modules {LORA_NAME}={adapter}"


def needs_adapter(spec: Quantization) -> bool:
    """Whether the packed weights of a recipe's checkpoint were rounded for its adapter."""
    return spec.compensation is not None and spec.compensation.kind == OUTLIER_COLUMNS


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
