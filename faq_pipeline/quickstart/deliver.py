"""Hands a finished checkpoint over: a folder with its model card, and what was gained in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faq_pipeline.core import stage_names
from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.execution.cell_resolver import CellResolver
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.execution.runner import plan
from faq_pipeline.exports.marked_folder import read_mark, write_mark
from faq_pipeline.publishing.content import CARD
from faq_pipeline.quantization.serving_format import (
    has_kernel,
    is_weight_only,
    scheme_in_words,
    serve_command,
)
from faq_pipeline.quantization.stage import CHECKPOINT
from faq_pipeline.quickstart.fallback import fallback_outcome
from faq_pipeline.reporting.outcome import outcome
from faq_pipeline.reporting.page import write_page
from faq_pipeline.settings import Settings
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.copying import copy_files, copy_problems, new_folder
from faq_pipeline.util.atomic_files import write_atomic
from faq_pipeline.util.files import listing, obstacle
from faq_pipeline.util.pages import size


@dataclass(frozen=True)
class Delivered:
    """A checkpoint's folder.

    Attributes:
        fingerprint: of the checkpoint.
        outcome: what was gained, in one sentence.
        report: the report's page; None where nothing was evaluated.
        serve: how it is served, in lines.
        sizes: bytes of its weights, and of the unquantized model's.
    """

    folder: Path
    fingerprint: str
    outcome: str
    report: Path | None
    serve: tuple[str, ...]
    sizes: tuple[int, int]

    def as_dict(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            "fingerprint": self.fingerprint,
            "outcome": self.outcome,
            "report": None if self.report is None else str(self.report),
            "card": None if self.report is None else str(self.folder / CARD),
        }

    def lines(self) -> list[str]:
        """What the user reads at the end."""
        now, before = self.sizes
        lines = [self.outcome]
        if self.report is not None:
            lines.append(f"report: {self.report}")
            lines.append(f"card: {self.folder / CARD}")
        lines.append(f"traced: faq lineage trace {self.fingerprint[:8]}")
        return [*lines, f"checkpoint: {self.folder}, {size(now)} of {size(before)}", *self.serve]


def check_folder_free(settings: Settings, cells: Sequence[Cell], folder: Path) -> None:
    """Refuse a folder that holds something else than the checkpoint of one of these cells, before any work.

    Raises:
        FaqError: it does, or is a file, or cannot be made, or its copy of the checkpoint has changed.
    """
    held = _held(folder)
    if held is None:
        if there := obstacle(folder.absolute().parent):
            what = "cannot be written to" if there.is_dir() else "is a file"
            raise FaqError(f"cannot be made: {there} {what}", hint="name another with --out", file=folder)
        return
    plans = [plan(cell, STAGES, settings.store)[stage_names.QUANTIZED_CHECKPOINT] for cell in cells]
    for planned in plans:
        if planned.artifact is not None and planned.artifact.fingerprint == held:
            for problem in copy_problems(planned.artifact, CHECKPOINT, folder):
                raise FaqError(
                    f"{problem.what}: this folder was made as checkpoint {held[:8]}",
                    hint="move the folder away and run again, or name a new one with --out",
                    file=problem.path,
                )
            return
    raise FaqError(
        f"this folder holds another checkpoint, {held[:8]}", hint="name a new one with --out", file=folder
    )


def deliver(
    settings: Settings,
    cells: Sequence[Cell],
    folder: Path,
    *,
    evaluated: bool,
    instead_of: Cell | None = None,
) -> Delivered:
    """Copy the checkpoint of the last cell out of the store, with a model card where it was evaluated.

    Args:
        cells: the baselines first; all are finished, as far as they were to be.
        instead_of: the recipe's cell, where it could not be finished and these are its baselines.

    Raises:
        FaqError: the folder cannot be written, or holds something else.
    """
    cell, target = cells[-1], folder.absolute()
    planned = plan(cell, STAGES, settings.store)
    artifact, report = (
        planned[stage_names.QUANTIZED_CHECKPOINT].artifact,
        planned[stage_names.EVAL_REPORT].artifact if evaluated else None,
    )
    assert artifact is not None
    card = "" if report is None else _card(settings, cell)
    if _held(folder) != artifact.fingerprint:
        _copy(cell, artifact, target, card)
    elif card:  # an earlier run had none, or evaluated something else
        write_atomic(target / CARD, card)
    inspection = artifact.metadata["inspection"]
    told = (
        outcome(settings, cells, evaluated=evaluated)
        if instead_of is None
        else fallback_outcome(settings, instead_of, cell)
    )
    return Delivered(
        folder=target,
        fingerprint=artifact.fingerprint,
        outcome=told,
        report=None if report is None else write_page(CellResolver(settings), cell)[0],
        serve=_serving(cell, target, artifact.fingerprint),
        sizes=(inspection["bytes"], inspection["original_bytes"]),
    )


def _card(settings: Settings, cell: Cell) -> str:
    from faq_pipeline.publishing.review import content_of, review_cell

    return content_of(settings, review_cell(settings, cell)).card


def _copy(cell: Cell, artifact: Artifact, target: Path, card: str) -> None:
    with new_folder(target) as staging:
        copy_files(artifact, CHECKPOINT, staging)
        write_mark(staging, cell.partition, artifact)
        if card:
            (staging / CARD).write_text(card, encoding="utf-8")


def _held(folder: Path) -> str | None:
    """The fingerprint of the checkpoint in a folder of ours; None where the folder is free.

    Raises:
        FaqError: it is a file, or holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise FaqError("this is a file", hint="name a new folder with --out", file=folder)
    if not folder.is_dir() or not listing(folder):
        return None
    held = read_mark(folder)
    if held is None:
        raise FaqError("this folder is not empty", hint="name a new one with --out", file=folder)
    return held


def _serving(cell: Cell, folder: Path, fingerprint: str) -> tuple[str, ...]:
    spec = cell.recipe.quantization
    command = serve_command(spec, folder)
    if not has_kernel(spec, "cuda"):
        line = f"load it with transformers: vLLM has no kernel for {scheme_in_words(spec)}"
    elif cell.device != "cpu" or has_kernel(spec, "cpu"):
        return (f"serve it: {command}",)
    else:
        line = f"serve it on a GPU (vLLM has no kernel for {scheme_in_words(spec)} on this CPU): {command}"
    if not is_weight_only(spec):
        return (line,)
    dense = f"faq export {fingerprint[:8]} DIR --to dense"
    return line, f"serve it on any hardware, as large as the original: {dense}"
