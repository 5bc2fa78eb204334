"""How much `calibration_set` has to do."""

from __future__ import annotations

from faq_pipeline.calibration.selectors import find_selector
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.stage_work import StageWork
from faq_pipeline.models.device import device_kind


def calibration_work(cell: Cell) -> StageWork:
    """The set goes through the target, and before it the winners where a selector looks at activations."""
    spec, sampling = cell.recipe.calibration, cell.recipe.regeneration.sampling
    kind, read = device_kind(cell.device), spec.tokens
    if selector := find_selector(spec.selection):
        kind = f"{selector.name} on {kind}"
        if selector.needs_activations and sampling is not None:
            read += cell.recipe.seeds.count * sampling.max_new_tokens
    return StageWork(kind, read, cell.target.member.parameters, spec.tokens, gpus=1)
