"""Whether rounded weights change the target's predictions on a candidate to a middling degree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from faq_pipeline.competition.expert import Context, Group, Need
from faq_pipeline.competition.experts.sensitivity import divergences

LOW, HIGH = 0.3, 0.7
"""The band of quantiles in which a candidate is neither agreed on anyway nor hopeless."""


@dataclass(frozen=True)
class Adaptability:
    """Minus the distance of the quantile of the candidate's divergence from the band `LOW` to `HIGH`.

    The divergence is that of `Sensitivity`. Its quantile is among all candidates of the corpus that may
    win: of groups of a few, quantiles within the group would say little. So a score depends on which other
    candidates the corpus has, and where several of a group lie in the band the expert does not choose
    among them. Abstains where sensitivity does, and where no candidate of the corpus may win.

    After AdaDFQ (arXiv 2303.06869), which generates samples between a boundary of agreement and one of
    disagreement of the model and its quantized copy, and of which we know the abstract. Quantiles, the band
    and choosing among given candidates are ours.
    """

    name: str = "adaptability"
    needs: tuple[Need, ...] = ("activations", "scheme")

    def score(self, groups: Sequence[Group], context: Context) -> list[float | None]:
        """All candidates in one pass through the target and its rounded copy.

        Raises:
            FaqError: the recipe's quantization does not fit the target, see `check_spec`.
        """
        found = divergences(self.name, groups, context)
        eligible = [candidate in group.eligible for group in groups for candidate in group.candidates]
        pool = [value for value, may_win in zip(found, eligible, strict=True) if may_win]
        return adaptabilities(found, [value for value in pool if value is not None])


def adaptabilities(values: Sequence[float | None], pool: Sequence[float]) -> list[float | None]:
    """Minus the distance from the band, 0 inside it and down to -0.3, of each value's quantile in the pool.

    The quantile is the share of the pool below the value, and half of the share equal to it.
    """
    if not pool:
        return [None for _ in values]
    ordered = np.sort(np.asarray(pool, dtype=np.float64))

    def score(value: float) -> float:
        below, upto = (int(np.searchsorted(ordered, value, side)) for side in ("left", "right"))
        quantile = (below + upto) / 2 / len(ordered)
        # Rounded, so that what is as far below the band as another is above it scores the same.
        return -round(max(LOW - quantile, quantile - HIGH, 0.0), 9)

    return [None if value is None else score(value) for value in values]
