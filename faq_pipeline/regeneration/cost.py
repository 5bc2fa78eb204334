"""How much the stages of this package have to do."""

from __future__ import annotations

from faq_pipeline.core.cell import Cell
from faq_pipeline.core.engines import target_gpus, teacher_gpus, work_kind
from faq_pipeline.core.stage_work import StageWork


def seed_work(cell: Cell) -> StageWork:
    """Reading a file, or a dataset."""
    seeds = cell.recipe.seeds
    return StageWork("dataset" if seeds.path is None else "file", 0, 0, seeds.count)


def traces_work(cell: Cell, count: int) -> StageWork:
    """`count` answers of the target, by the evaluation's engine."""
    spec = cell.recipe.evaluation
    tokens = count * spec.max_new_tokens
    return StageWork(
        work_kind(cell, spec.engine),
        tokens,
        cell.target.member.parameters,
        tokens,
        gpus=target_gpus(cell),
    )


def corpus_work(cell: Cell) -> StageWork:
    """The teacher's candidates; next to nothing where no model writes them."""
    regeneration = cell.recipe.regeneration
    count = cell.recipe.candidate_count
    if cell.teacher is None or regeneration.sampling is None:
        return StageWork(regeneration.source, 0, 0, count, regeneration.source)
    tokens = count * regeneration.sampling.max_new_tokens
    # The model of an endpoint is loaded elsewhere, yet its time grows with its size.
    return StageWork(
        work_kind(cell, regeneration.engine),
        tokens,
        cell.teacher.member.parameters,
        tokens,
        gpus=max(1, teacher_gpus(cell)),  # over how many an endpoint spreads it is not known
    )
