"""How much `quantized_checkpoint` has to do."""

from __future__ import annotations

from faq_pipeline.core.cell import Cell
from faq_pipeline.core.stage_work import StageWork
from faq_pipeline.models.device import device_kind
from faq_pipeline.models.device_memory import runs_on_cpu
from faq_pipeline.quantization.methods import learns_rounding, needs_calibration, time_over_gptq
from faq_pipeline.quantization.methods.autoround import BATCH


def checkpoint_work(cell: Cell) -> StageWork:
    """The calibration set goes through the target, where the method looks at one.

    Where it learns roundings, so does a batch of rows in each step of each layer, forward and backward;
    a backward pass is as much work as two forward passes. A method that is much slower than GPTQ is worth so
    much more of GPTQ's work.
    """
    spec, parameters = cell.recipe.quantization, cell.target.member.parameters
    read = tokens = cell.recipe.calibration.tokens if needs_calibration(spec) else 0
    if learns_rounding(spec):
        tokens += (1 + 2) * spec.iterations * min(tokens, BATCH * cell.recipe.calibration.sequence_length)
    plan = "" if spec.plan is None else f" and a bit plan from {len(spec.plan.bits)} widths"
    where = f"{plan} on {device_kind(cell.device)}"
    slower = time_over_gptq(spec) if runs_on_cpu(cell.device) else None
    return StageWork(
        f"{spec.method}{where}",
        tokens,
        parameters,
        parameters,
        f"{spec.scheme} {spec.group_size}",
        gpus=1,
        worth=None if slower is None else (f"gptq{where}", slower * read * parameters),
    )
