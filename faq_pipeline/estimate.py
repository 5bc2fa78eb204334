"""What a stage would cost: memory and tokens from the cell, time and disk from past runs of the stage.

Upper bounds where a length is not known before generation; no figure is invented where nothing
like it has run here yet.
"""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from typing import Any

from faq_pipeline.cell import Cell
from faq_pipeline.models.device import WORKING_SPACE
from faq_pipeline.store.store import Store

GIB = 2**30


@dataclass(frozen=True)
class Estimate:
    """The cost of one stage. None: not known.

    Attributes:
        memory_gib: device memory while it runs.
        tokens: tokens generated or read, at most.
        disk_mib, seconds: median of past runs of the stage, scaled by tokens x parameters.
    """

    memory_gib: float | None
    tokens: int | None
    disk_mib: float | None
    seconds: float | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def estimate(stage: str, cell: Cell, store: Store) -> Estimate:
    """Estimate one stage of a cell from the artifacts of that stage in the store."""
    tokens, parameters = _work(stage, cell)
    past = [a.manifest for a in store.artifacts() if a.path.parent.name == stage]
    work = max(1, tokens) * max(1, parameters)
    rates = [m.seconds / m.metadata["work"] for m in past if m.metadata.get("work")]
    sizes = [sum(f.bytes for f in m.files) for m in past]
    return Estimate(
        memory_gib=round(2 * parameters * WORKING_SPACE / GIB, 3) if parameters else None,
        tokens=tokens or None,
        disk_mib=round(statistics.median(sizes) / 2**20, 2) if sizes else None,
        seconds=round(statistics.median(rates) * work, 1) if rates else None,
    )


def work_of(stage: str, cell: Cell) -> int:
    """Tokens x parameters of a stage: what its time is taken to be proportional to."""
    tokens, parameters = _work(stage, cell)
    return max(1, tokens) * max(1, parameters)


def _work(stage: str, cell: Cell) -> tuple[int, int]:
    """(tokens at most, parameters of the model that is loaded; 0 where none is)."""
    recipe, target = cell.recipe, cell.target.member.parameters
    teacher = cell.teacher.member.parameters if cell.teacher else 0
    sampling = recipe.regeneration.sampling
    sampled = (
        recipe.seeds.count * recipe.regeneration.candidates * (sampling.max_new_tokens if sampling else 0)
    )
    evaluation = recipe.evaluation
    held_out = evaluation.traces * 2 * evaluation.max_new_tokens
    return {
        "seed_data": (0, 0),
        "inference_traces": (64 * evaluation.max_new_tokens, target),
        "regenerated_corpus": (sampled, teacher),
        "competition_scores": (sampled if "target_likelihood" in recipe.competition.experts else 0, target),
        "calibration_set": (recipe.calibration.tokens, target),
        "quantized_checkpoint": (recipe.calibration.tokens, target),
        "reference_eval": (held_out, target),
        "eval_report": (held_out, target),
    }.get(stage, (0, 0))
