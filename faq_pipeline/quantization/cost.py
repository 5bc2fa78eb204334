"""How much `quantized_checkpoint` has to do."""

from __future__ import annotations

from faq_pipeline.core.cell import Cell
from faq_pipeline.core.stage_work import StageWork
from faq_pipeline.models.device import device_kind
from faq_pipeline.quantization.methods import needs_calibration


def checkpoint_work(cell: Cell) -> StageWork:
    """The calibration set goes through the target, where the method looks at one."""
    spec, parameters = cell.recipe.quantization, cell.target.member.parameters
    plan = "" if spec.plan is None else f" and a bit plan from {len(spec.plan.bits)} widths"
    return StageWork(
        f"{spec.method}{plan} on {device_kind(cell.device)}",
        cell.recipe.calibration.tokens if needs_calibration(spec) else 0,
        parameters,
        parameters,
        f"{spec.scheme} {spec.group_size}",
        gpus=1,
    )
