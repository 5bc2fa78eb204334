"""The amount of work of `reference_eval` and `eval_report`, for cost estimates."""

from __future__ import annotations

from faq_pipeline.core.cell import Cell
from faq_pipeline.core.engines import target_gpus, work_kind
from faq_pipeline.core.stage_work import StageWork
from faq_pipeline.evaluation.question_count import written_answers


def evaluation_work(cell: Cell) -> StageWork:
    """The tokens of all answers, and of the traces and prose on which divergence is measured."""
    spec, parameters = cell.recipe.evaluation, cell.target.member.parameters
    kind, gpus = work_kind(cell, spec.engine), target_gpus(cell)
    asked = written_answers(spec) if spec.tasks else 0
    if asked is None:  # then only earlier runs on the same questions show how long they take
        kind = f"{kind}: {' '.join(spec.tasks)}, limit {spec.limit}, {spec.max_new_tokens} tokens"
        return StageWork(kind, 0, parameters, 1, kind, gpus)
    tokens = (asked + 2 * spec.traces) * spec.max_new_tokens
    return StageWork(kind, tokens, parameters, tokens, gpus=gpus)
