"""The parts of a report, and the formatting of figures in its tables."""

from __future__ import annotations

import math
from collections.abc import Sized
from dataclasses import dataclass, field

from faq_pipeline.evaluation.bootstrap import IntervalEstimate
from faq_pipeline.study.analysis.analysis import Analysis
from faq_pipeline.study.analysis.crossed import Figure


@dataclass(frozen=True)
class Block:
    """A part of the report. `rows` are table rows; `plot` is the file name of a picture beside the report."""

    heading: str = ""
    level: int = 2
    text: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    plot: str = ""


def reduction(figure: Figure | None) -> str:
    """The reduction of a KL in per cent, from the logarithm of the ratio of the other KL to it."""
    if figure is None:
        return "-"
    value, low, high = (100 * (1 - math.exp(-x)) for x in (figure.value, figure.low, figure.high))
    return f"{value:.0f} [{low:.0f}, {high:.0f}]"


def kl(figure: Figure | None) -> str:
    """A KL per token in 1e-3 nats, from its logarithm."""
    if figure is None:
        return "-"
    value, low, high = (1000 * math.exp(x) for x in (figure.value, figure.low, figure.high))
    return f"{value:.3g} [{low:.3g}, {high:.3g}]"


def points(figure: Figure | None) -> str:
    """A share of the questions, in percentage points."""
    return "-" if figure is None else interval(figure.estimate, 2, 100)


def share(figure: Figure) -> str:
    """A share with three decimals."""
    return interval(figure.estimate, 3, 1)


def interval(estimate: IntervalEstimate | None, digits: int, scale: float) -> str:
    """A figure with its interval; a dash if there is none."""
    if estimate is None:
        return "-"
    value, low, high = (x * scale for x in (estimate.value, estimate.low, estimate.high))
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def known_or_dash(value: float | None, form: str) -> str:
    """A figure in a format; a dash if it is unknown."""
    return "-" if value is None else format(value, form)


def count(things: Sized, name: str) -> str:
    """The number of things with their name, in the singular or plural."""
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


def p_value(value: float | None) -> str:
    """A p-value; a dash if nothing was tested."""
    return "-" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


def seconds_of(analysis: Analysis) -> str:
    """The unit of the study's times: `GPU-s`, `CPU-s`, or `s` for mixed machines."""
    kinds = {one["machine"].get("kind") for one in analysis.machines}
    return "GPU-s" if kinds == {"cuda"} else "CPU-s" if kinds == {"cpu"} else "s"
