"""Integers with scales of compressed-tensors as blocks of GGUF, without a loss.

GGUF's Q4_0 and Q8_0 are blocks of 32 columns with one float16 scale d: weights are d (q - 8) for q in 0..15,
and d q for q in -128..127. So symmetric integers of up to 4 and 8 bits fit, whatever their own bits, where
their groups are multiples of 32 columns: a longer group's scale is repeated.

Source of the form: `ggml-quants` of llama.cpp; the reader of the package `gguf` decodes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from faq_pipeline.errors import FaqError

if TYPE_CHECKING:
    import numpy as np
    import torch

BLOCK = 32
"""Columns of a block."""


def stored_bits(bits: int) -> int:
    """Bits of the block type that holds integers of so many bits: 4 (Q4_0) or 8 (Q8_0)."""
    return 4 if bits <= 4 else 8


def blocks(name: str, integers: torch.Tensor, scales: torch.Tensor, bits: int) -> np.ndarray[Any, Any]:
    """The bytes of a weight, shape (rows, bytes of a row), uint8.

    Args:
        integers: int8, shape (rows, columns), in the range of `bits`.
        scales: shape (rows, groups); weights are `integers * scales`.

    Raises:
        FaqError: groups are no multiple of 32 columns, or a scale is not a float16 number.
    """
    import numpy as np

    rows, columns = integers.shape
    group = columns // scales.shape[1]
    if columns % scales.shape[1] or group % BLOCK:
        raise FaqError(
            f"{name} has groups of {group} columns", hint=f"GGUF's are of {BLOCK}: use --to imatrix"
        )
    wide = scales.float().repeat_interleave(group // BLOCK, dim=1)
    short = wide.half()
    if not bool((short.float() == wide).all()):
        raise FaqError(f"{name} has scales beyond float16, which GGUF stores", hint="use --to imatrix")
    head = short.numpy().reshape(rows, -1, 1).view(np.uint8)
    q = integers.numpy().reshape(rows, -1, BLOCK)
    if stored_bits(bits) == 4:
        nibbles = (q + 8).astype(np.uint8)
        body = nibbles[..., : BLOCK // 2] | nibbles[..., BLOCK // 2 :] << 4
    else:
        body = q.view(np.uint8)
    return np.concatenate([head, body], axis=-1).reshape(rows, -1)
