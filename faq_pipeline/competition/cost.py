"""How much `competition_scores` has to do."""

from __future__ import annotations

from faq_pipeline.competition.experts import experts_named
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.engines import target_gpus, work_kind
from faq_pipeline.core.stage_work import StageWork
from faq_pipeline.inference.factory import IN_PROCESS


def competition_work(cell: Cell) -> StageWork:
    """What the experts read, in tokens, where they ask a model; next to nothing else."""
    experts = experts_named(cell.recipe.competition.experts)
    names = "+".join(sorted(expert.name for expert in experts)) or "random"
    sampling, count = cell.recipe.regeneration.sampling, cell.recipe.candidate_count
    needs = {need for expert in experts for need in expert.needs}
    # Seeds passed through are no business of `target`, and as long as they are.
    reads = needs & ({"activations"} if sampling is None else {"target", "activations"})
    if not reads:
        return StageWork(names, 0, 0, count, names)
    asked = "target" in reads
    models = 2 if "scheme" in needs else 1  # the target, and beside it its rounded copy
    return StageWork(
        f"{names} by {work_kind(cell, cell.recipe.evaluation.engine if asked else IN_PROCESS)}",
        0 if sampling is None else count * sampling.max_new_tokens,
        models * cell.target.member.parameters,
        count,
        names,
        target_gpus(cell) if asked else 1,
    )
