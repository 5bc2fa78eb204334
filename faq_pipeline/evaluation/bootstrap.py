"""Percentile bootstrap for statistics of means: seeded, reproducible, and without an index matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RESAMPLES = 10_000
LEVEL = 0.95
_SEED = 20_260_111
_CELLS = 20_000_000
"""Maximum number of counts in memory at once (160 MB)."""


@dataclass(frozen=True)
class IntervalEstimate:
    """A value with its 95% interval."""

    value: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2

    def as_dict(self) -> dict[str, float]:
        """`{value, low, high}`."""
        return asdict(self)


def bootstrap_estimate(values: Array, statistic: Callable[[Array], Array]) -> IntervalEstimate:
    """A statistic of column means, with the 95% percentile interval over resampled rows.

    Args:
        values: (units, columns). Rows are resampled as a whole (a question's scores under every model,
            or a sequence's sums), so columns stay paired.
        statistic: maps means of shape (resamples, columns) to (resamples,). Values may be infinite;
            NaN marks a resample for which the statistic is undefined, and is ignored.
    """
    value = float(statistic(values.mean(axis=0, keepdims=True))[0])
    draws = statistic(resampled_means(values))
    draws = draws[~np.isnan(draws)]
    if not draws.size:
        return IntervalEstimate(value, value, value)
    tail = (1 - LEVEL) / 2
    # 'inverted_cdf' picks one of the values and never interpolates, so infinite values stay infinite.
    low, high = np.quantile(draws, [tail, 1 - tail], method="inverted_cdf")
    return IntervalEstimate(value, float(low), float(high))


def resampled_means(values: Array, resamples: int = RESAMPLES) -> Array:
    """Column means of `resamples` bootstrap samples of the rows: (resamples, columns).

    How often each distinct row occurs in a bootstrap sample follows a multinomial distribution. So the
    cost grows with the number of distinct rows (four for two models with right or wrong answers), not
    with the number of questions. The order of rows does not matter.
    """
    rows, counts = np.unique(values, axis=0, return_counts=True)
    generator = np.random.default_rng(_SEED)
    units = int(counts.sum())
    chunk = max(1, _CELLS // len(rows))
    parts = [
        generator.multinomial(units, counts / units, size=min(chunk, resamples - start)) @ rows / units
        for start in range(0, resamples, chunk)
    ]
    means: Array = np.concatenate(parts)
    return means
