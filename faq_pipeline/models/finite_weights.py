"""Refuses weights that hold a NaN or an infinity, as a training run that diverged leaves them.

Nothing that is computed with them means anything: each logit is a NaN. No model library is loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

from faq_pipeline.errors import FaqError
from faq_pipeline.models.remembered import remembered
from faq_pipeline.models.safetensors_header import StoredTensor, read_header

BLOCK = 2**20
"""Bytes looked at at once; bounds the memory that the check takes."""

_MAGNITUDES: dict[str, tuple[str, int, int]] = {
    "F64": ("<u8", 0x7FFF_FFFF_FFFF_FFFF, 0x7FF0_0000_0000_0000),
    "F32": ("<u4", 0x7FFF_FFFF, 0x7F80_0000),
    "F16": ("<u2", 0x7FFF, 0x7C00),
    "BF16": ("<u2", 0x7FFF, 0x7F80),
    "F8_E5M2": ("u1", 0x7F, 0x7C),
    "F8_E4M3": ("u1", 0x7F, 0x7F),
}
"""Of each dtype: how its bits are read, which of them are not the sign, and from which value on these
stand for an infinity or a NaN (IEEE 754; F8_E4M3 has a NaN and no infinity). Others hold neither."""


def check_finite(path: Path, cache: Path) -> None:
    """Refuse a safetensors file with a NaN or an infinity in it.

    The file is read once; that it is sound is remembered.

    Args:
        cache: as that of `remembered`.

    Raises:
        FaqError: it has; names the tensor.
    """
    remembered(path, cache, _look_through, "finite")


def _look_through(path: Path) -> str:
    with path.open("rb") as file:
        for name, tensor in read_header(path).items():
            if tensor.dtype in _MAGNITUDES and not _is_finite(file, tensor):
                raise FaqError(
                    f"the weights hold a NaN or an infinity, in {name}",
                    hint="no result of such weights means anything: copy, download or train them again",
                    file=path,
                )
    return "finite"


def _is_finite(file: BinaryIO, tensor: StoredTensor) -> bool:
    form, magnitude, limit = _MAGNITUDES[tensor.dtype]
    file.seek(tensor.start)
    for start in range(tensor.start, tensor.end, BLOCK):
        words = np.frombuffer(file.read(min(BLOCK, tensor.end - start)), form)
        if words.size and np.bitwise_and(words, words.dtype.type(magnitude)).max() >= limit:
            return False
    return True
