"""Plot of a calibration set's fitness by layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from faq_pipeline.activations.fitness import by_layer
from faq_pipeline.store.records import ChannelMismatch

LEAST = 1e-9
"""Drawn in place of smaller mismatches, which a logarithmic axis cannot show."""


def draw_fitness_by_layer(rows: Sequence[ChannelMismatch], path: Path) -> None:
    """Mismatch by layer as a PNG: a line for the mean, marks for the modules. Equal rows, equal bytes."""
    import matplotlib.style
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    # The user's own matplotlib settings would change the bytes.
    with matplotlib.style.context("default"):
        figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
        axes = figure.subplots()
        kinds = sorted({row.module.rsplit(".", 1)[-1] for row in rows})
        for index, kind in enumerate(kinds):
            own = [row for row in rows if row.module.rsplit(".", 1)[-1] == kind]
            axes.plot(
                [row.layer for row in own],
                [max(row.mismatch, LEAST) for row in own],
                linestyle="none",
                marker="osD^v<>p*hX"[index % 11],
                alpha=0.7,
                label=kind,
            )
        means = by_layer(rows)
        axes.plot(list(means), [max(v, LEAST) for v in means.values()], "k-", label="mean")
        axes.set_yscale("log")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("layer")
        axes.set_ylabel("mean squared log-ratio")
        axes.set_title("Calibration set against inference traces: input second moments")
        figure.legend(fontsize="small", loc="outside right upper")
        figure.savefig(path, format="png", metadata={"Software": None})
