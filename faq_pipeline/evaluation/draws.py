"""Intervals over draws *and* questions: repeated calibration draws judged on the same questions.

Draws and questions are crossed (every draw answers every question), so both are resampled, each
with replacement and independently. Arms that share draws and questions are resampled together:
what they have in common cancels in their differences.

Draws are few, and there the percentile bootstrap is too narrow for two known reasons: the bootstrap
variance of a mean of n values is (n - 1) / n of the unbiased one, and its quantiles are near the
normal's where the mean of so few needs Student's. (A textbook remedy is to stretch the sample; see
Hesterberg, "What Teachers Should Know About the Bootstrap", 2015, on "narrowness bias".) Each
replicate's deviation that is due to its draws is stretched by what is missing:

    m_q + c * (m_dq - m_q),    c = t(0.975, n - 1) / z(0.975) * sqrt(n / (n - 1))

where m_q is an arm's mean over all n draws on the replicate's questions, and m_dq that over its
resampled draws on them. Questions are many and need no such correction; an arm of one row has no
draw component. With one draw in all, the interval says nothing of other draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np

from faq_pipeline.evaluation.bootstrap import LEVEL, Array, Estimate

RESAMPLES = 5_000
CHUNK = 500
_SEED = 20_260_111

Statistic = Callable[[Mapping[str, Array]], Array]


def crossed_estimate(
    arms: Mapping[str, tuple[Array, Array]], statistic: Statistic, resamples: int = RESAMPLES
) -> Estimate:
    """A statistic of the arms' means with its 95% percentile interval over draws and units.

    Args:
        arms: by name, (values, weights): values (draws, units) and the units' weights (units,): a
            question weighs 1, a sequence its tokens while its value is its sum. All arms have the
            same units; an arm that has no draws of its own (the reference, round-to-nearest) has
            one row.
        statistic: from means by arm, each (resamples,), to (resamples,).
    """
    units = {values.shape[1] for values, _ in arms.values()}
    draws = max(values.shape[0] for values, _ in arms.values())
    if len(units) != 1 or any(values.shape[0] not in (1, draws) for values, _ in arms.values()):
        raise ValueError("arms must share their units, and have one row or one a draw")
    (count,) = units
    whole = {name: _means(v, w, np.ones((1, len(v))), np.ones((1, count))) for name, (v, w) in arms.items()}
    generator = np.random.default_rng(_SEED)
    found = []
    for start in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - start)
        by_draw = generator.multinomial(draws, np.full(draws, 1 / draws), size=size).astype(np.float64)
        by_unit = generator.multinomial(count, np.full(count, 1 / count), size=size).astype(np.float64)
        means = {name: _stretched(v, w, by_draw, by_unit) for name, (v, w) in arms.items()}
        found.append(statistic(means))
    sample = np.concatenate(found)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(sample[~np.isnan(sample)], [tail, 1 - tail], method="inverted_cdf")
    return Estimate(float(statistic(whole)[0]), float(low), float(high))


def _stretched(values: Array, weights: Array, by_draw: Array, by_unit: Array) -> Array:
    """An arm's means, what is due to the draws corrected for their number: (resamples,)."""
    draws = len(values)
    over_all: Array = _means(values, weights, np.ones((1, draws)), by_unit)
    if draws == 1:
        return over_all
    resampled: Array = _means(values, weights, by_draw, by_unit)
    return over_all + draw_correction(draws) * (resampled - over_all)


@cache
def draw_correction(draws: int) -> float:
    """The factor c above, for two or more draws."""
    from scipy.stats import norm, t

    upper = (1 + LEVEL) / 2
    return float(t.ppf(upper, draws - 1) / norm.ppf(upper) * np.sqrt(draws / (draws - 1)))


def _means(values: Array, weights: Array, by_draw: Array, by_unit: Array) -> Array:
    """Weighted means under resampling counts: (resamples,)."""
    mixed = (by_draw @ values) / by_draw.sum(axis=1, keepdims=True)
    means: Array = (mixed * by_unit).sum(axis=1) / (by_unit @ weights)
    return means
