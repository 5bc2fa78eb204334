"""Intervals over draws *and* questions: repeated calibration draws judged on the same questions.

Draws and questions are crossed (every draw answers every question), so both are resampled, each
with replacement and independently. Arms that share draws and questions are resampled together:
what they have in common cancels in their differences.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

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
        means = {
            name: _means(v, w, by_draw if len(v) == draws else np.ones((size, 1)), by_unit)
            for name, (v, w) in arms.items()
        }
        found.append(statistic(means))
    sample = np.concatenate(found)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(sample[~np.isnan(sample)], [tail, 1 - tail], method="inverted_cdf")
    return Estimate(float(statistic(whole)[0]), float(low), float(high))


def _means(values: Array, weights: Array, by_draw: Array, by_unit: Array) -> Array:
    """Weighted means under resampling counts: (resamples,)."""
    mixed = (by_draw @ values) / by_draw.sum(axis=1, keepdims=True)
    means: Array = (mixed * by_unit).sum(axis=1) / (by_unit @ weights)
    return means
