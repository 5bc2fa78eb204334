"""Intervals over draws and questions: repeated calibration draws judged on the same questions.

Draws and questions are crossed (every draw answers every question), so an arm's mean varies with the
draws that were made, with the questions that were asked, and with what the two have together. With D
draws and Q questions,

    Var(mean) = s_d / D  +  s_q / Q  +  s_dq / (D Q).

Three bootstraps estimate the parts, for any smooth statistic of the arms' means. One resamples
questions and finds s_q / Q + s_dq / (D Q); one resamples draws and finds s_d / D + s_dq / (D Q), less a
D-th; one resamples both, and finds all three parts. Arms that share draws and questions are resampled
together, so that what they have in common cancels in their differences. The standard error is the
root of the sum of the parts; its degrees of freedom are Satterthwaite's; intervals, p-values and the
minimum detectable effect are Student's with these. (The usual interval, from resampling both ways at
once, counts the interaction three times: Owen, "The pigeonhole bootstrap", Annals of Applied
Statistics 2007.)

The minimum detectable effect is the true difference that a two-sided test at 5% finds in 80% of
studies like this: (t(0.975) + t(0.80)) times the standard error (Bloom, "Minimum detectable effects",
Evaluation Review 1995).

Targets and quantizers are not resampled: what is said holds for those of the study.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Generic, TypeVar
from zlib import crc32

import numpy as np
from scipy.stats import t as student

from faq_pipeline.evaluation.bootstrap import LEVEL, Array, IntervalEstimate

K = TypeVar("K", bound=Hashable)

RESAMPLES = 4_000
CHUNK = 500
POWER = 0.80
_SEED = 20_260_111


@dataclass(frozen=True)
class ScoreSample:
    """What one arm scored under one quantizer and target.

    Attributes:
        values: (draws, units); a unit is a question or a sequence.
        weights: (units,); a question weighs 1, a sequence its tokens while its value is its sum.
        draws: the number of each row's draw; empty where there is one row and no draws.
        units: a name for the set of units; samples of one set are resampled together.
    """

    values: Array
    weights: Array
    draws: tuple[int, ...]
    units: str

    def __post_init__(self) -> None:
        if len(self.values) != max(1, len(self.draws)) or self.values.shape[1:] != self.weights.shape:
            raise ValueError("values are (draws, units), and weights (units,)")


@dataclass(frozen=True)
class Figure:
    """A statistic with its 95% interval.

    Attributes:
        p: two-sided, of the hypothesis that it is 0.
        mde: the minimum detectable effect.
        draws: how many it rests on; 0 where nothing in it has draws.
    """

    value: float
    low: float
    high: float
    se: float
    df: float
    p: float
    mde: float
    draws: int

    @property
    def estimate(self) -> IntervalEstimate:
        """Without what tests need."""
        return IntervalEstimate(self.value, self.low, self.high)

    def as_dict(self) -> dict[str, float | int]:
        """JSON-able."""
        return asdict(self)


Statistic = Callable[[Mapping[K, Array]], Array]
"""From the arms' means by name, each (resamples,), to (resamples,)."""


class Crossed(Generic[K]):
    """Some samples and their resampled means, from which any number of statistics is estimated."""

    def __init__(
        self, samples: Mapping[K, ScoreSample], *, log: bool = False, resamples: int = RESAMPLES
    ) -> None:
        """
        Args:
            log: a mean over draws is one of logarithms of the draws' means (of a ratio scale with a
                long tail, such as KL), and so are the statistics.
        """
        self.samples = dict(samples)
        self._resamples = resamples
        self._scale: Callable[[Array], Array] = _log if log else lambda means: means
        self._counts: dict[int, Array] = {}

    def estimate(self, names: Iterable[K], statistic: Statistic[K]) -> Figure | None:
        """A statistic of the means of some samples, over the draws that all of them have.

        None where they share no draw, or the statistic has no value.
        """
        names = list(names)
        drawn = [set(self.samples[name].draws) for name in names if self.samples[name].draws]
        common = tuple(sorted(set.intersection(*drawn))) if drawn else ()
        if drawn and not common:
            return None
        rows = {name: self._rows(name, common) for name in names}
        value = float(statistic({n: self._means[n][r].mean(keepdims=True) for n, r in rows.items()})[0])
        if not np.isfinite(value):
            return None
        by_unit = _variance(statistic({n: self._resampled[n][:, r].mean(axis=1) for n, r in rows.items()}))
        units = min(self.samples[name].values.shape[1] for name in names)
        if len(common) < 2:
            return _figure(value, [(by_unit, units - 1)], len(common))
        counts = self._draw_counts(len(common))
        by_draw = _variance(statistic({n: self._over_draws(n, r, counts) for n, r in rows.items()}))
        by_both = _variance(statistic({n: self._over_both(n, r, counts) for n, r in rows.items()}))
        unbiased = len(common) / (len(common) - 1)
        together = min(max(by_both - by_draw - by_unit, 0.0) * unbiased, by_unit)
        parts = [(by_draw * unbiased, len(common) - 1), (by_unit - together, units - 1)]
        return _figure(value, parts, len(common))

    def _rows(self, name: K, draws: tuple[int, ...]) -> list[int]:
        own = self.samples[name].draws
        return [own.index(draw) for draw in draws] if own else [0]

    def _over_draws(self, name: K, rows: list[int], counts: Array) -> Array:
        """Means over resampled draws, on the questions as they are: (resamples,)."""
        means = self._means[name][rows]
        if not self.samples[name].draws:
            return np.full(self._resamples, means[0])
        over: Array = counts @ means
        return over

    def _over_both(self, name: K, rows: list[int], counts: Array) -> Array:
        means = self._resampled[name][:, rows]
        if not self.samples[name].draws:
            return means[:, 0]
        over: Array = (means * counts).sum(axis=1)
        return over

    def _draw_counts(self, draws: int) -> Array:
        """Shares of each of `draws` draws in a resample: (resamples, draws)."""
        if draws not in self._counts:
            generator = np.random.default_rng([_SEED, draws])
            drawn = generator.multinomial(draws, np.full(draws, 1 / draws), size=self._resamples)
            self._counts[draws] = drawn / draws
        return self._counts[draws]

    @cached_property
    def _means(self) -> dict[K, Array]:
        """Each draw's mean: (draws,)."""
        return {
            name: self._scale(sample.values.sum(axis=1) / sample.weights.sum())
            for name, sample in self.samples.items()
        }

    @cached_property
    def _resampled(self) -> dict[K, Array]:
        """Each draw's mean over resampled units: (resamples, draws)."""
        found: dict[K, Array] = {}
        for units in {sample.units for sample in self.samples.values()}:
            these = {name: sample for name, sample in self.samples.items() if sample.units == units}
            (count,) = {len(sample.weights) for sample in these.values()}
            generator = np.random.default_rng([_SEED, crc32(units.encode())])
            parts: dict[K, list[Array]] = {name: [] for name in these}
            for start in range(0, self._resamples, CHUNK):
                size = min(CHUNK, self._resamples - start)
                counts = generator.multinomial(count, np.full(count, 1 / count), size=size).astype(np.float64)
                for name, sample in these.items():
                    means = counts @ sample.values.T / (counts @ sample.weights)[:, None]
                    parts[name].append(self._scale(means))
            found.update({name: np.concatenate(chunks) for name, chunks in parts.items()})
        return found


def _figure(value: float, parts: list[tuple[float, int]], draws: int) -> Figure:
    """A figure from the parts of its variance, each with its degrees of freedom."""
    variance = sum(part for part, _ in parts)
    if variance <= 0:
        return Figure(value, value, value, 0.0, float(parts[0][1]), float(value == 0), 0.0, draws)
    se = float(np.sqrt(variance))
    df = 1 / sum((part / variance) ** 2 / max(1, own) for part, own in parts)
    reach = float(student.ppf((1 + LEVEL) / 2, df))
    p = float(2 * student.sf(abs(value) / se, df))
    mde = (reach + float(student.ppf(POWER, df))) * se
    return Figure(value, value - reach * se, value + reach * se, se, float(df), p, mde, draws)


def _variance(values: Array) -> float:
    """Of the values that are finite: a resample may leave a statistic undefined."""
    finite = values[np.isfinite(values)]
    return float(finite.var()) if finite.size else 0.0


def _log(means: Array) -> Array:
    """Logarithms; a mean of nothing at all counts as the smallest that a float can tell from it."""
    logs: Array = np.log(np.maximum(means, np.finfo(np.float64).tiny))
    return logs
