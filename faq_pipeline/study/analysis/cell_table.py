"""The table of a study's cells: one row per finished, failed or missing cell."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from faq_pipeline.core import stage_names
from faq_pipeline.evaluation.bootstrap import Array
from faq_pipeline.store.tables import write_rows
from faq_pipeline.study.analysis.outcomes import Scores
from faq_pipeline.study.design.cells import Design, StudyCell
from faq_pipeline.study.execution.results import Result


@dataclass(frozen=True)
class CellRow:
    """One cell. KL is in nats per token; seconds are measured in the process that made each stage.

    Attributes:
        short_replies: share of replies less than half as long as the reference's.
        sampled_tokens, data_seconds: None if an artifact of the calibration data is not in the store.
        status: `finished`, `failed` or `missing`.
        pilot: whether the cell is used only to decide which conditions are primary.
        report: fingerprint of the cell's last artifact.
    """

    member: str
    arm: str
    quantizer: str
    split: str
    draw: int
    pilot: bool
    status: str
    problem: str
    reference: float | None
    accuracy: float | None
    loss: float | None
    short_replies: float | None
    kl: float | None
    kl_prose: float | None
    fitness: float | None
    calibration_tokens: int | None
    sampled_tokens: int | None
    data_seconds: float | None
    quantization_seconds: float | None
    judging_seconds: float | None
    device: str
    commit: str
    checkpoint: str
    report: str


def cell_rows(design: Design, results: Mapping[str, Result], scores: Iterable[Scores]) -> list[CellRow]:
    """The rows of all cells, in the order of the study."""
    found = {one.cell.id: one for one in scores}
    return [_row(cell, results.get(cell.id), found.get(cell.id)) for cell in design.cells]


def write_cells(folder: Path, rows: Iterable[CellRow]) -> None:
    """Write `cells.parquet` and `cells.csv`."""
    rows = list(rows)
    write_rows(folder / "cells.parquet", rows, CellRow)
    with (folder / "cells.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(CellRow)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def _row(cell: StudyCell, result: Result | None, scores: Scores | None) -> CellRow:
    known = result if result is not None and result.answers(cell) else None
    artifacts = dict(known.artifacts) if known else {}
    machine = dict(known.machine) if known else {}
    status = "finished" if scores else "failed" if known and known.problem else "missing"
    seconds = scores.cost.seconds if scores else {}
    data_seconds = scores.cost.data_seconds if scores else None
    return CellRow(
        member=cell.member,
        arm=cell.arm,
        quantizer=cell.quantizer,
        split=cell.split,
        draw=cell.draw,
        pilot=cell.pilot,
        status=status,
        problem=known.problem if known else "",
        calibration_tokens=scores.calibration_tokens if scores else None,
        **_figures(scores),
        sampled_tokens=scores.cost.sampled_tokens if scores else None,
        data_seconds=None if data_seconds is None else round(data_seconds, 3),
        quantization_seconds=seconds.get(stage_names.QUANTIZED_CHECKPOINT),
        judging_seconds=seconds.get(cell.last),
        device=str(machine.get("device", "")),
        commit=str(machine.get("commit", "")),
        checkpoint=artifacts.get(stage_names.QUANTIZED_CHECKPOINT, ""),
        report=artifacts.get(cell.last, ""),
    )


def _figures(scores: Scores | None) -> dict[str, float | None]:
    names = ("reference", "accuracy", "loss", "short_replies", "kl", "kl_prose", "fitness")
    if scores is None:
        return dict.fromkeys(names)
    reference, accuracy = (
        None if values is None else float(values.mean()) for values in (scores.reference, scores.correct)
    )
    return {
        "reference": reference,
        "accuracy": accuracy,
        "loss": None if reference is None or accuracy is None else reference - accuracy,
        "short_replies": scores.short_replies,
        "kl": _per_token(scores.kl, scores.tokens),
        "kl_prose": _per_token(scores.kl_prose, scores.tokens_prose),
        "fitness": scores.fitness,
    }


def _per_token(nats: Array, tokens: Array) -> float | None:
    """None without sequences: multiple-choice tasks leave no answers to measure."""
    return float(nats.sum() / tokens.sum()) if tokens.size else None
