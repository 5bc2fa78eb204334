"""Confidence intervals over draws and questions, for repeated draws evaluated on the same questions.

Draws and questions are crossed: every draw answers every question. So the variance of an arm's mean has
a part from the draws, a part from the questions, and a part from their interaction. With D draws and Q
questions,

    Var(mean) = s_d / D  +  s_q / Q  +  s_dq / (D Q).

Three bootstraps estimate these parts, for any smooth statistic of the arms' means. Resampling questions
estimates s_q / Q + s_dq / (D Q). Resampling draws estimates s_d / D + s_dq / (D Q), too small by the
factor (D - 1) / D. Resampling both estimates the sum of all three parts. Arms that share draws and
questions are resampled together, so that common variation cancels in their differences. The standard
error is the square root of the sum of the parts. Its degrees of freedom follow Satterthwaite; intervals,
p-values and the minimum detectable effect use Student's t distribution with them. (The usual interval,
from resampling both at once, counts the interaction three times: Owen, "The pigeonhole bootstrap",
Annals of Applied Statistics 2007.)

The minimum detectable effect is the true difference that a two-sided test at the 5% level detects in 80%
of such studies: (t(0.975) + t(0.80)) times the standard error (Bloom, "Minimum detectable effects",
Evaluation Review 1995).

Targets and quantizers are not resampled, so all results hold only for those of the study.
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
    """The scores of one arm on one target and quantizer.

    Attributes:
        values: (draws, units). A unit is a question or a sequence; the value of a sequence is the sum
            over its tokens.
        weights: (units,). The weight of a question is 1, that of a sequence its number of tokens.
        draws: the draw number of each row; empty if there is one row that depends on no draw.
        units: identifier of the set of units. Samples with the same set are resampled together.
    """

    values: Array
    weights: Array
    draws: tuple[int, ...]
    units: str

    def __post_init__(self) -> None:
        if len(self.values) != max(1, len(self.draws)) or self.values.shape[1:] != self.weights.shape:
            raise ValueError("values must have shape (draws, units), and weights (units,)")


@dataclass(frozen=True)
class Figure:
    """A statistic with its 95% interval.

    Attributes:
        se: standard error.
        df: degrees of freedom of the t distribution.
        p: two-sided p-value of the hypothesis that the statistic is 0.
        mde: minimum detectable effect.
        draws: number of draws used; 0 if no sample depends on draws.
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
        """The value with its interval only."""
        return IntervalEstimate(self.value, self.low, self.high)

    def as_dict(self) -> dict[str, float | int]:
        """As JSON-serializable data."""
        return asdict(self)


Statistic = Callable[[Mapping[K, Array]], Array]
"""Maps the arms' means by name, each of shape (resamples,), to values of shape (resamples,)."""


class Crossed(Generic[K]):
    """A set of samples with their resampled means, from which statistics are estimated."""

    def __init__(
        self, samples: Mapping[K, ScoreSample], *, log: bool = False, resamples: int = RESAMPLES
    ) -> None:
        """
        Args:
            log: average the logarithms of the draws' means, so that statistics are logarithms too.
                Meant for quantities on a ratio scale with a long tail, such as KL.
            resamples: number of bootstrap resamples.
        """
        self.samples = dict(samples)
        self._resamples = resamples
        self._scale: Callable[[Array], Array] = _log if log else lambda means: means
        self._counts: dict[int, Array] = {}

    def estimate(self, names: Iterable[K], statistic: Statistic[K]) -> Figure | None:
        """Estimate a statistic of the means of the named samples, over the draws that all of them have.

        Returns:
            None if the samples share no draw, one has no units, or the statistic is not finite.
        """
        names = list(names)
        if not all(self.samples[name].weights.size for name in names):
            return None
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
        """Means over resampled draws with the original questions: (resamples,)."""
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
        """The share of each draw in each resample: (resamples, draws)."""
        if draws not in self._counts:
            generator = np.random.default_rng([_SEED, draws])
            drawn = generator.multinomial(draws, np.full(draws, 1 / draws), size=self._resamples)
            self._counts[draws] = drawn / draws
        return self._counts[draws]

    @cached_property
    def _means(self) -> dict[K, Array]:
        """The mean of each draw: (draws,)."""
        return {
            name: self._scale(sample.values.sum(axis=1) / sample.weights.sum())
            for name, sample in self.samples.items()
            if sample.weights.size
        }

    @cached_property
    def _resampled(self) -> dict[K, Array]:
        """The mean of each draw over resampled units: (resamples, draws)."""
        found: dict[K, Array] = {}
        for units in {sample.units for sample in self.samples.values()}:
            these = {name: sample for name, sample in self.samples.items() if sample.units == units}
            (count,) = {len(sample.weights) for sample in these.values()}
            if not count:
                continue
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
    """A figure from its variance components, each with its degrees of freedom."""
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
    """The variance of the finite values: a statistic may be undefined for some resamples."""
    finite = values[np.isfinite(values)]
    return float(finite.var()) if finite.size else 0.0


def _log(means: Array) -> Array:
    """Logarithms; zero is replaced by the smallest normal float."""
    logs: Array = np.log(np.maximum(means, np.finfo(np.float64).tiny))
    return logs
