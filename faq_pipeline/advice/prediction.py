"""How much higher the KL of one way to make calibration data will be than that of another, by past cells.

Past cells are those of study `advice`: `past_cells.csv`, written by `python -m benchmarks.advice collect`.
Within a condition (a target and a quantizer) ln KL is taken to be linear in the excess error; conditions
share the slope. An interval is of the ratio over many draws: it covers slopes that differ between conditions,
and ways to make data that lie off the line in all their draws. What single checkpoints scatter comes on top.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, variance

from faq_pipeline.config.recipe import Quantization

TABLE = Path(__file__).with_name("past_cells.csv")
VARIANTS = ("layer_bits", "plan", "kv_cache", "compensation", "rotate", "sample_weights", "token_weights")
"""Options that no past cell has."""
METHODS, SCHEMES = ("gptq",), ("W3A16", "W4A16")
"""What past cells were made with."""
LEVEL = 0.95


@dataclass(frozen=True)
class PastCell:
    """One cell of a study.

    Attributes:
        condition: target and quantizer.
        arm: the way in which its calibration set was made; each has several draws.
        excess: of its calibration set, see `activations.excess_error`.
        kl: of its checkpoint on tasks, in nats a token.
    """

    condition: tuple[str, str]
    arm: str
    excess: float
    kl: float


@dataclass(frozen=True)
class Ratio:
    """A predicted ratio of two KLs, with its 95% prediction interval."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """For JSON."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Fit:
    """The line of ln KL by excess error. Standard deviations are of ln KL.

    Attributes:
        slope: of all conditions.
        spread: standard deviation of the true slopes of single conditions.
        misfit: how far ways to make data lie off the line of their condition in all draws.
        scatter: how far single checkpoints lie from the mean of their draws.
        conditions: their number.
    """

    slope: float
    spread: float
    misfit: float
    scatter: float
    conditions: int

    def ratio(self, excess: float, than: float) -> Ratio:
        """KL of a set over that of another, by their excess errors."""
        from scipy.stats import t as student

        difference = excess - than
        middle = self.slope * difference
        spread = self.spread * math.sqrt(1 + 1 / self.conditions) * difference
        error = math.sqrt(2 * self.misfit**2 + spread**2)
        reach = float(student.ppf((1 + LEVEL) / 2, self.conditions - 1)) * error
        return Ratio(*(math.exp(value) for value in (middle, middle - reach, middle + reach)))


def applies(spec: Quantization) -> bool:
    """Whether past cells were made as this recipe quantizes."""
    fields = Quantization.model_fields
    plain = all(getattr(spec, name) == fields[name].default for name in VARIANTS)
    return plain and spec.method in METHODS and spec.scheme in SCHEMES


def past_cells(path: Path = TABLE) -> list[PastCell]:
    """The cells of the table."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            PastCell((row["member"], row["quantizer"]), row["arm"], float(row["excess"]), float(row["kl"]))
            for row in csv.DictReader(file)
        ]


def fit(cells: Iterable[PastCell]) -> Fit:
    """The least-squares line with a constant for each condition, and the parts of what is left of ln KL."""
    groups: dict[tuple[str, str], list[_Point]] = defaultdict(list)
    for cell in cells:
        groups[cell.condition].append(_Point(cell.arm, cell.excess, math.log(cell.kl)))
    centred = [_centred(its) for its in groups.values()]
    squares = [sum(one.x**2 for one in its) for its in centred]
    slopes = [sum(one.x * one.y for one in its) / xx for its, xx in zip(centred, squares, strict=True)]
    slope = sum(one * xx for one, xx in zip(slopes, squares, strict=True)) / sum(squares)
    left = [[(one.arm, one.y - slope * one.x) for one in its] for its in centred]
    total = sum(rest**2 for its in left for _, rest in its) / (sum(len(its) - 1 for its in left) - 1)
    scatter = _within_arms(left)
    # Slopes of single conditions differ by chance, too.
    chance = fmean(total / xx for xx in squares)
    return Fit(
        slope=slope,
        spread=math.sqrt(max(0.0, variance(slopes, slope) - chance)),
        misfit=math.sqrt(max(0.0, total - scatter)),
        scatter=math.sqrt(scatter),
        conditions=len(slopes),
    )


@dataclass(frozen=True)
class _Point:
    arm: str
    x: float
    y: float


def _centred(points: list[_Point]) -> list[_Point]:
    x, y = fmean(one.x for one in points), fmean(one.y for one in points)
    return [_Point(one.arm, one.x - x, one.y - y) for one in points]


def _within_arms(left: list[list[tuple[str, float]]]) -> float:
    """Variance within arms of each condition, pooled; 0 where each has one draw."""
    squares, free = 0.0, 0
    for its in left:
        arms: dict[str, list[float]] = defaultdict(list)
        for arm, rest in its:
            arms[arm].append(rest)
        for rests in arms.values():
            mean = fmean(rests)
            squares += sum((rest - mean) ** 2 for rest in rests)
            free += len(rests) - 1
    return squares / free if free else 0.0
