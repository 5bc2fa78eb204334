"""The human-readable evaluation report: report.md, report.html and recovery.png."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from faq_pipeline.store.records import CheckpointRow

PLOT = "recovery.png"
FILES = ("report.md", "report.html", PLOT)
"""They only show the figures, so they are no part of the artifact's digest: another wording makes no
evaluation again. A report that was made earlier keeps its text."""


def write_report(
    folder: Path, figures: Mapping[str, Any], checkpoint: CheckpointRow, bits: float | None = None
) -> None:
    """Write the three files into `folder`. Their bytes depend only on the arguments.

    Args:
        bits: mean number of bits of the checkpoint's quantized weights, their scales included.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    for name in FILES[:2]:
        environment = Environment(
            loader=PackageLoader("faq_pipeline.evaluation"),
            autoescape=name.endswith(".html"),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        environment.filters["percent"] = lambda figure: interval(figure, 1, 100)
        environment.filters["milli"] = lambda figure: interval(figure, 2, 1000)
        environment.filters["interval"] = interval
        text = environment.get_template(f"{name}.jinja").render(
            checkpoint=asdict(checkpoint), bits=bits, plot=PLOT, **figures
        )
        (folder / name).write_text(text, encoding="utf-8")
    _plot(folder / PLOT, figures)


def interval(figure: Mapping[str, float] | None, digits: int = 3, scale: float = 1.0) -> str:
    """Format as `value [low, high]`, or a dash if there is no figure."""
    if figure is None:
        return "-"
    value, low, high = (figure[key] * scale for key in ("value", "low", "high"))
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _plot(path: Path, figures: Mapping[str, Any]) -> None:
    """Plot recovery with its interval, and the gate."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 2.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.axvline(1.0, color="0.6", linewidth=1, label="reference")
    recovery, gate = figures["recovery"], figures["gate"]
    if gate is not None:
        axes.axvline(gate["threshold"], color="tab:red", linestyle="--", linewidth=1, label="gate")
    if recovery is None:
        axes.text(0.5, 0.5, "recovery is not computed", ha="center", va="center", transform=axes.transAxes)
    else:
        reach = [[recovery["value"] - recovery["low"]], [recovery["high"] - recovery["value"]]]
        axes.errorbar(
            [recovery["value"]], [0], xerr=reach, fmt="o", capsize=4, color="tab:blue", label="recovery"
        )
    axes.set(yticks=[], ylim=(-1, 1), xlabel="recovery, 95% interval")
    axes.spines[["left", "right", "top"]].set_visible(False)
    figure.legend(loc="outside upper left", frameon=False, fontsize="small", ncols=3)
    # Leave out the software version, so that equal figures give equal bytes.
    figure.savefig(path, format="png", metadata={"Software": None})
