"""The plots of a study's report. Equal results give equal bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from faq_pipeline.study.analysis.analysis import Analysis
from faq_pipeline.study.analysis.fitness_correlation import Correlation
from faq_pipeline.study.analysis.pairs import Compared

Scale = Callable[[float], float]
PANELS: tuple[tuple[str, str, Scale], ...] = (
    ("loss", "points gained", lambda value: 100 * value),
    ("kl", "times as low a KL", math.exp),
)
"""Outcomes of the forest plot: name, axis label, and the function from a figure to the axis."""
COLUMNS = 4
DPI = 90


def draw_forest(analysis: Analysis, paths: Sequence[Path]) -> None:
    """Draw the mean difference of every pair with its interval and MDE, and single cells as dots."""
    pairs = [one.pair for one in analysis.pairs if one.outcome == PANELS[0][0]]
    titles = {name: arm.title for name, arm in analysis.design.study.arms.items()}
    names = [
        f"{titles[pair.arm]}\nagainst {titles[pair.than]}" + _quantizers(pair.quantizers) for pair in pairs
    ]
    with _figure((11, 1.4 + 0.6 * len(pairs)), paths) as figure:
        panels = figure.subplots(1, len(PANELS), sharey=True)
        for axes, (outcome, label, scale) in zip(panels, PANELS, strict=True):
            rows = [one for one in analysis.pairs if one.outcome == outcome]
            for height, one in enumerate(rows):
                _forest_row(axes, -height, one, scale)
            if outcome == "kl":
                axes.set_xscale("log")
                _few_ticks(axes.xaxis)
            axes.axvline(scale(0), color="0.4", linewidth=1)
            axes.set_xlabel(label)
            axes.set_ylim(0.7 - len(rows), 0.7)
            axes.spines[["left", "right", "top"]].set_visible(False)
        panels[0].set_yticks([-height for height in range(len(names))], names, fontsize="small")
        for axes in panels:
            axes.tick_params(axis="y", length=0)


def draw_fitness(analysis: Analysis, paths: Sequence[Path]) -> None:
    """Draw KL against fitness: one panel per condition, one colour per arm."""
    found = [one for one in analysis.fitness if one.estimate is not None]
    rows = -(-len(found) // COLUMNS)
    arms = list(dict.fromkeys(point[0] for one in found for point in one.points))
    titles = {name: arm.title for name, arm in analysis.design.study.arms.items()}
    with _figure((3.4 * min(COLUMNS, len(found)) + 2.5, 3 * rows + 0.4), paths) as figure:
        panels = figure.subplots(rows, min(COLUMNS, len(found)), squeeze=False).flat
        for axes, one in zip(panels, found, strict=False):
            _scatter(axes, one, arms, titles)
        for axes in list(panels)[len(found) :]:
            axes.set_visible(False)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize="small")


def _quantizers(names: Sequence[str] | None) -> str:
    """Under which quantizers a pair is compared, where not all: two pairs may differ in it alone."""
    return f"\nunder {', '.join(names)}" if names else ""


def _forest_row(axes: Any, height: float, one: Compared, scale: Scale) -> None:
    if one.figure is None:
        return
    figure, middle = one.figure, scale(one.figure.value)
    axes.plot(
        [scale(-figure.mde), scale(figure.mde)],
        [height] * 2,
        color="0.88",
        linewidth=9,
        solid_capstyle="butt",
        zorder=0,
    )
    reach = [[middle - scale(figure.low)], [scale(figure.high) - middle]]
    colour = "0.35" if one.verdict.startswith("not shown") else "tab:blue" if figure.value > 0 else "tab:red"
    axes.errorbar([middle], [height], xerr=reach, fmt="o", capsize=3, color=colour, markersize=5)
    single = [scale(condition.value) for condition in one.conditions.values()]
    axes.plot(single, [height - 0.25] * len(single), ".", color="0.5", markersize=3)


def _scatter(axes: Any, one: Correlation, arms: Sequence[str], titles: dict[str, str]) -> None:
    import matplotlib

    colours = matplotlib.colormaps["tab20"]
    for index, arm in enumerate(arms):
        own = np.array([point[2:] for point in one.points if point[0] == arm])
        if len(own):
            axes.plot(
                own[:, 0],
                own[:, 1],
                marker="os^D"[index // 20 % 4],
                linestyle="none",
                markersize=3.5,
                color=colours(index % 20),
                label=titles[arm],
                rasterized=True,  # thousands of vector markers would make the page large
            )
    axes.set(xscale="log", yscale="log", xlabel="fitness (mismatch)", ylabel="KL, nats per token")
    _few_ticks(axes.xaxis)
    _few_ticks(axes.yaxis)
    assert one.estimate is not None
    axes.set_title(
        f"{one.condition.member}, {one.condition.quantizer}: {one.estimate.value:.2f}", fontsize="small"
    )


def _few_ticks(axis: Any) -> None:
    """Set ticks at 1, 2 and 5, so that a log axis shows its scale even within one decade."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


@contextmanager
def _figure(size: tuple[float, float], paths: Sequence[Path]) -> Iterator[Any]:
    """A figure that is saved to all paths, each in the format of its suffix."""
    import matplotlib
    import matplotlib.style
    from matplotlib.figure import Figure

    # The user's matplotlib settings, random ids and dates would change the bytes.
    with (
        matplotlib.style.context("default"),
        matplotlib.rc_context({"svg.hashsalt": "faq", "svg.fonttype": "none"}),
    ):
        figure = Figure(figsize=size, dpi=DPI, layout="constrained")
        yield figure
        for path in paths:
            metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
            figure.savefig(path, metadata=metadata)
