"""What a seed is worth: the same seeded requests alone and within a batch, on a running engine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from faq_pipeline.config.recipe import Sampling
from faq_pipeline.inference.engine import Engine, Request

Texts = dict[str, str]


def compare_seeded(
    engine: Engine, batch: Sequence[Request], alone: int, sampling: Sampling
) -> dict[str, Any]:
    """Shares of equal texts: `alone` of the requests one at a time, all as a batch, each twice.

    In this order: alone, batch, batch, alone. All but the first pass find their prompts in the prefix
    cache, so that the two comparisons tell the batch's part from the cache's.
    """
    chosen = batch[:: max(1, len(batch) // alone)][:alone]

    def texts(requests: Sequence[Request]) -> Texts:
        return {c.request_id: c.text for c in engine.generate(engine.units(requests), sampling)}

    def one_by_one() -> Texts:
        return {name: text for request in chosen for name, text in texts([request]).items()}

    before, within, again, after = one_by_one(), texts(batch), texts(batch), one_by_one()
    return {
        "requests": len(chosen),
        "batch": len(batch),
        "new_tokens": sampling.max_new_tokens,
        "batch_invariant": os.environ.get("VLLM_BATCH_INVARIANT", "0"),
        "alone = in the batch": _equal(after, within),
        "alone = alone again (then with the prompt cached)": _equal(before, after),
        "batch = batch again": _equal(within, again),
        # Tells a rare near-tie late in the text from another sample altogether.
        "characters before alone and batch part (median of those that do)": _parting(after, within),
    }


def _equal(some: Texts, others: Texts) -> float:
    return sum(others[name] == text for name, text in some.items()) / len(some)


def _parting(some: Texts, others: Texts) -> int | None:
    parted = sorted(
        len(list(takewhile(lambda pair: pair[0] == pair[1], zip(text, others[name], strict=False))))
        for name, text in some.items()
        if others[name] != text
    )
    return parted[len(parted) // 2] if parted else None
