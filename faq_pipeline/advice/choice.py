"""Which of the measured sets to take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from faq_pipeline.advice.measure import Measured
from faq_pipeline.advice.prediction import Ratio, applies, fit, past_cells
from faq_pipeline.config.recipe import Quantization

MARGIN, SHARE = 1.05, 0.5
"""A cheaper set is taken where its KL is predicted to be at most MARGIN times the lowest, if at most SHARE as
many tokens are sampled for it."""

NOT_WORSE = "a row whose interval contains 1 is not shown to be worse than the first"


@dataclass(frozen=True)
class Advice:
    """The ranking and the choice.

    Attributes:
        measured: best first.
        ratios: predicted KL of each over that of the first; None where past cells tell nothing of it.
        scatter: factor by which the KL of a single checkpoint scatters; None as above.
        why: of the choice, in words.
    """

    measured: tuple[Measured, ...]
    ratios: tuple[Ratio | None, ...]
    scatter: float | None
    choice: Measured
    why: str
    notes: tuple[str, ...]


def advice_on(measured: Sequence[Measured], spec: Quantization) -> Advice:
    """Advice on sets that are sorted, the best first, for a recipe that quantizes by `spec`."""
    measured, first = tuple(measured), measured[0]
    if not applies(spec):
        note = (
            "how much higher the KL will be is known from past cells for GPTQ with W3A16 and W4A16, and not"
            f" for {spec.method} with {spec.scheme}: the order alone is told"
        )
        return Advice(measured, (None,) * len(measured), None, first, "lowest excess error", (note,))
    line = fit(past_cells())
    others = [line.ratio(one.excess, first.excess) for one in measured[1:]]
    ratios = (Ratio(1, 1, 1), *others)
    choice = measured[chosen([ratio.value for ratio in ratios], [one.sampled_tokens for one in measured])]
    tokens = f"{choice.sampled_tokens:,} sampled tokens instead of {first.sampled_tokens:,}"
    near = f"within {MARGIN - 1:.0%} of the lowest predicted KL, at {tokens}"
    why = "lowest predicted KL" if choice is first else near
    alike = any(ratio.low <= 1 for ratio in others)
    notes = (NOT_WORSE,) if alike else ()
    return Advice(measured, ratios, math.exp(line.scatter), choice, why, notes)


def chosen(ratios: Sequence[float], sampled: Sequence[int]) -> int:
    """Which set to take: the first, or the first that is nearly as good at a fraction of its sampled tokens.

    Args:
        ratios: predicted KL of each over that of the first, ascending.
        sampled: tokens that are sampled for each.
    """
    near = (
        index
        for index, (ratio, tokens) in enumerate(zip(ratios, sampled, strict=True))
        if ratio <= MARGIN and tokens <= SHARE * sampled[0]
    )
    return next(near, 0)
