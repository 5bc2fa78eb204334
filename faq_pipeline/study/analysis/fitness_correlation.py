"""Does fitness, known before quantization, predict the divergence after it?

Spearman's rank correlation over all arms and draws of a condition (arms that use no data have no
fitness). Its interval resamples draws, each with all its arms: the bootstrap standard error on the scale
of Fisher's z transform, corrected for the number of draws, times Student's t quantile.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata
from scipy.stats import t as student

from faq_pipeline.evaluation.bootstrap import LEVEL, Array, IntervalEstimate
from faq_pipeline.study.analysis.outcomes import Condition, Scores

RESAMPLES = 1_000
_SEED = 20_260_111
_CLOSE = 0.9999
"""Correlations are clipped to this absolute value, since Fisher's z is infinite at 1."""


@dataclass(frozen=True)
class Correlation:
    """Rank correlation of fitness (a mismatch: lower is better) with KL on one condition.

    Attributes:
        points: (arm, draw, fitness, KL per token in nats).
    """

    condition: Condition
    estimate: IntervalEstimate | None
    points: list[tuple[str, int, float, float]]


def correlations(scores: Iterable[Scores]) -> list[Correlation]:
    """One correlation per condition with KL on tasks, in order of first appearance."""
    found: dict[Condition, list[tuple[str, int, float, float]]] = {}
    for one in scores:
        if one.fitness is not None and one.tokens.size:  # multiple-choice tasks leave no answers to measure
            kl = float(one.kl.sum() / one.tokens.sum())
            found.setdefault(one.key.condition, []).append((one.cell.arm, one.cell.draw, one.fitness, kl))
    return [Correlation(condition, rank_correlation(points), points) for condition, points in found.items()]


def rank_correlation(points: list[tuple[str, int, float, float]]) -> IntervalEstimate | None:
    """The rank correlation with its 95% interval; None if there are fewer than three points or all are equal.

    Args:
        points: see `Correlation`.
    """
    fitness, kl = (np.array([point[i] for point in points], dtype=np.float64) for i in (2, 3))
    value = _spearman(fitness, kl)
    if value is None:
        return None
    draws = sorted({point[1] for point in points})
    of_draw = [np.flatnonzero([point[1] == draw for point in points]) for draw in draws]
    if len(draws) < 2:
        return IntervalEstimate(value, -1.0, 1.0)
    generator = np.random.default_rng(_SEED)
    found = []
    for picked in generator.integers(len(draws), size=(RESAMPLES, len(draws))):
        rows = np.concatenate([of_draw[i] for i in picked])
        resampled = _spearman(fitness[rows], kl[rows])
        if resampled is not None:
            found.append(resampled)
    count = len(draws)
    se = float(_fisher(np.array(found)).std()) * np.sqrt(count / (count - 1))
    reach = float(student.ppf((1 + LEVEL) / 2, count - 1)) * se
    middle = float(_fisher(np.array([value]))[0])
    low, high = np.tanh([middle - reach, middle + reach])
    return IntervalEstimate(value, float(min(low, value)), float(max(high, value)))


def _spearman(fitness: Array, kl: Array) -> float | None:
    if len(fitness) < 3 or np.ptp(fitness) == 0 or np.ptp(kl) == 0:
        return None
    a, b = (ranks - ranks.mean() for ranks in (rankdata(fitness), rankdata(kl)))
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def _fisher(correlation: Array) -> Array:
    z: Array = np.arctanh(np.clip(correlation, -_CLOSE, _CLOSE))
    return z
