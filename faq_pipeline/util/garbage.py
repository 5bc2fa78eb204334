"""How often Python's garbage collector looks for reference cycles."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

USUAL = gc.get_threshold()
RARE = (50_000, 20, 20)


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
    """Exclude all objects of now, most of them modules' own, from later collections.

    The interpreter would look at each of them several more times, also when it ends.
    """
    gc.freeze()


@contextmanager
def _threshold(threshold: tuple[int, int, int]) -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(*threshold)
    try:
        yield
    finally:
        gc.set_threshold(*before)
