"""Geometry of the report's figures, in per cent of their width, so that text keeps its size on any screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from faq_pipeline.util.pages import Figure


@dataclass(frozen=True)
class Interval:
    """A row of a chart of intervals: a value with its 95% interval, and how it is called and coloured."""

    label: str
    style: str
    text: str
    low: float
    value: float
    high: float


@dataclass(frozen=True)
class IntervalChart:
    """Rows on one axis, with ticks (place, label)."""

    rows: list[Interval]
    ticks: list[tuple[float, str]]
    unit: str


@dataclass(frozen=True)
class Line:
    """A line of a line chart; `points` as SVG has them, in a square of 100 by 100."""

    label: str
    style: str
    points: str


@dataclass(frozen=True)
class LineChart:
    """Lines over `first` to `last`; the upper edge is `top`, the lower one 0."""

    lines: list[Line]
    top: str
    first: str
    last: str


@dataclass(frozen=True)
class Bar:
    """A bar of a histogram: place, width and height in per cent, and what it says when pointed at."""

    left: float
    width: float
    height: float
    text: str


def interval_chart(
    figures: Sequence[tuple[str, str, Figure | None]], scale: float, digits: int, unit: str, *, zero: bool
) -> IntervalChart | None:
    """The chart of figures (label, style, figure); None where there is none.

    Args:
        zero: the axis starts at 0.
    """
    from matplotlib.ticker import MaxNLocator

    there = [(label, style, figure) for label, style, figure in figures if figure is not None]
    if not there:
        return None
    ends = [figure[name] * scale for _, _, figure in there for name in ("low", "value", "high")]
    low, high = 0.0 if zero else min(ends), max(ends)
    margin = 0.04 * (high - low) or 1.0
    low, high = low if zero else low - margin, high + margin

    def place(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    ticks = [float(tick) for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high]
    rows = [
        Interval(
            label,
            style,
            f"{figure['value'] * scale:.{digits}f}"
            f" [{figure['low'] * scale:.{digits}f}, {figure['high'] * scale:.{digits}f}]",
            *(place(figure[name] * scale) for name in ("low", "value", "high")),
        )
        for label, style, figure in there
    ]
    return IntervalChart(rows, [(place(tick), f"{tick:g}") for tick in ticks], unit)


def line_chart(series: Sequence[tuple[str, str, Mapping[int, float]]]) -> LineChart | None:
    """Lines (label, style, values by position); None where no line has two points."""
    there = [one for one in series if len(one[2]) > 1]
    if not there:
        return None
    positions = sorted({position for _, _, values in there for position in values})
    first, last = positions[0], positions[-1]
    top = max(value for _, _, values in there for value in values.values()) or 1.0
    lines = [
        Line(
            label,
            style,
            " ".join(
                f"{100 * (position - first) / (last - first):.2f},{100 - 96 * value / top:.2f}"
                for position, value in sorted(values.items())
            ),
        )
        for label, style, values in there
    ]
    return LineChart(lines, f"{top / 0.96:.2g}", str(first), str(last))


def histogram(values: Sequence[int], most: int = 16) -> list[Bar]:
    """How many of the values lie in each of at most so many equal ranges."""
    import numpy as np

    counts, edges = np.histogram(values, bins=min(most, max(values) - min(values) + 1))
    width = 100 / len(counts)
    return [
        Bar(
            round(i * width + 0.4, 2),
            round(width - 0.8, 2),
            round(100 * count / max(counts), 2),
            f"{edges[i]:.0f} to {edges[i + 1]:.0f}: {count}",
        )
        for i, count in enumerate(counts)
    ]
