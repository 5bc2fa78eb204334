"""What the report of a finished cell shows, from its artifacts and those of its baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from faq_pipeline.config.recipe import ORIGINAL, RANDOM, SELF, TEACHER
from faq_pipeline.core import stage_names
from faq_pipeline.core.cell import Cell
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.execution.runner import plan
from faq_pipeline.reporting.charts import interval_chart, line_chart
from faq_pipeline.reporting.finished import FinishedCell
from faq_pipeline.settings import Settings
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.util.pages import Figure

STYLES = ("other", "third", "rest")


@dataclass(frozen=True)
class Arm:
    """A recipe in the figures: this one, or a baseline.

    Attributes:
        style: class of its marks in the page's style sheet.
        figures: the metadata of its eval report.
        fitness: mismatch by layer; empty where none was measured.
    """

    label: str
    recipe: str
    style: str
    figures: Mapping[str, Any]
    fitness: Mapping[int, float]


def arms_of(settings: Settings, finished: FinishedCell, baselines: Sequence[Cell]) -> list[Arm]:
    """This recipe, and those of its baselines that are evaluated."""
    own = arm_label(finished.cell)
    arms = [_arm(own, finished.cell, "main", finished.report, finished.calibration)]
    for number, cell in enumerate(baselines):
        planned = plan(cell, STAGES, settings.store)
        report = planned[stage_names.EVAL_REPORT].artifact
        if report is not None:
            calibration = planned[stage_names.CALIBRATION_SET].artifact
            style = STYLES[min(number, len(STYLES) - 1)]
            arms.append(_arm(arm_label(cell), cell, style, report, calibration))
    return arms


def arm_label(cell: Cell) -> str:
    """What a recipe is called beside others: `FAQ` where a larger model of the family regenerated."""
    regeneration = cell.recipe.regeneration
    if regeneration.source == ORIGINAL:
        return "original, raw" if cell.recipe.calibration.template == "raw" else "original, chat"
    if regeneration.source == TEACHER and cell.teacher_family in (None, cell.family):
        return "FAQ"
    return {SELF: "self-generated", RANDOM: "random tokens"}.get(regeneration.source, cell.recipe.name)


def charts_of(arms: Sequence[Arm], reference: Figure | None) -> dict[str, Any]:
    """The charts: `accuracy`, `kl`, `kl_prose`, `fitness`; None where there is nothing to show."""

    def figures(name: str) -> list[tuple[str, str, Figure | None]]:
        return [(arm.label, arm.style, arm.figures.get(name)) for arm in arms]

    unquantized = [("unquantized", "rest", reference)]
    return {
        "accuracy": reference
        and interval_chart([*unquantized, *figures("quantized")], 100, 1, "% correct", zero=False),
        "kl": interval_chart(figures("kl"), 1000, 2, "1e-3 nats a token", zero=True),
        "kl_prose": interval_chart(figures("kl_prose"), 1000, 2, "1e-3 nats a token", zero=True),
        "fitness": line_chart([(arm.label, arm.style, arm.fitness) for arm in arms]),
    }


def tasks_of(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """A row for each task: its questions, and accuracy in per cent of the unquantized model and each arm."""
    own = arms[0].figures["per_task"]
    return [
        {
            "name": name,
            "n": task["n"],
            "reference": 100 * task["reference"]["value"],
            "arms": [_task_accuracy(arm, name) for arm in arms],
        }
        for name, task in own.items()
    ]


def cost_of(finished: FinishedCell) -> list[dict[str, Any]]:
    """Stages that the report was made from: seconds, bytes, tokens of the work, GPU seconds if measured."""
    return [
        {
            "stage": name,
            "seconds": artifact.manifest.seconds,
            "bytes": sum(entry.bytes for entry in artifact.manifest.files),
            "tokens": artifact.metadata.get("work", {}).get("tokens") or None,
            "gpu_seconds": artifact.metadata.get("gpu_seconds") or None,
        }
        for name, artifact in finished.ancestry().items()
    ]


def notes_of(finished: FinishedCell) -> list[str]:
    """What the artifacts say that a reader should know."""
    return [note for artifact in finished.ancestry().values() for note in artifact.metadata.get("notes", [])]


def _arm(label: str, cell: Cell, style: str, report: Artifact, calibration: Artifact | None) -> Arm:
    layers = calibration.metadata.get("fitness_by_layer", []) if calibration else []
    return Arm(
        label, cell.recipe.name, style, report.metadata, {row["layer"]: row["mismatch"] for row in layers}
    )


def _task_accuracy(arm: Arm, name: str) -> float | None:
    task = arm.figures["per_task"].get(name)
    return None if task is None else 100 * task["quantized"]["value"]
