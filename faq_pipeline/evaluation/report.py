"""The human-readable evaluation report: report.md, report.html and recovery.png."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from faq_pipeline.store.records import CheckpointRow
from faq_pipeline.util.pages import render

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
    for name in FILES[:2]:
        text = render(
            "faq_pipeline.evaluation", name, checkpoint=asdict(checkpoint), bits=bits, plot=PLOT, **figures
        )
        (folder / name).write_text(text, encoding="utf-8")
    _plot(folder / PLOT, figures)


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
