"""How often Python's garbage collector looks for reference cycles."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

USUAL = gc.get_threshold()
RARE = (50_000, 20, 20)
BINDING = "_duckdb"
"""DuckDB's extension module. Its classes and constants must be freed when the interpreter ends."""


@contextmanager
def rare_collections() -> Iterator[None]:
    """Collect rarely within the block.

    For imports and the like, which make many objects and let few go: there the collector takes a fifth
    of the time. Not for code that holds tensors, which a cycle keeps until the next collection.
    """
    with _threshold(RARE):
        yield


@contextmanager
def usual_collections() -> Iterator[None]:
    """Collect as often as Python does by default, also within `rare_collections`."""
    with _threshold(USUAL):
        yield


def keep_what_is_loaded() -> None:
    """Exclude all objects of now, most of them modules' own, from later collections, at the first call.

    The interpreter would look at each of them several more times, also when it ends. A later call does
    nothing: it would keep what the work since then has left in cycles. Nor does a call after DuckDB is
    imported: its binding counts the objects that are not freed at the end, and reports them on stderr.
    """
    if gc.get_freeze_count() == 0 and BINDING not in sys.modules:
        gc.freeze()


@contextmanager
def _threshold(threshold: tuple[int, int, int]) -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(*threshold)
    try:
        yield
    finally:
        gc.set_threshold(*before)
