"""Telling a full memory from other errors; no library is loaded for it."""

from __future__ import annotations


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a GPU or main memory is full. torch has an exception of its own for some of the cases."""
    return isinstance(error, MemoryError) or any(
        sign in str(error) for sign in ("out of memory", "ALLOC_FAILED", "can't allocate memory")
    )
