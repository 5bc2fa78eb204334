"""Which split a text belongs to. The hash of the text decides, so splits can never overlap."""

from __future__ import annotations

from zlib import crc32

BUCKETS = 16
_SPLITS = {0: "evaluation", 1: "development", 2: "seeds"}
SPLITS = ("training", "seeds", "development", "evaluation")

GENERATOR_SEEDS = {"training": 11, "seeds": 22, "development": 33, "evaluation": 44}
"""Each split also has a generator seed of its own."""


def split_of(text: str) -> str:
    """The split of a question or a passage: three buckets of sixteen are held out."""
    return _SPLITS.get(crc32(text.encode()) % BUCKETS, "training")
