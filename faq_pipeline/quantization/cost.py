"""How much `quantized_checkpoint` has to do."""

from __future__ import annotations

from faq_pipeline.core.cell import Cell
from faq_pipeline.core.stage_work import StageWork
from faq_pipeline.models.device import device_kind
from faq_pipeline.models.device_memory import runs_on_cpu
from faq_pipeline.quantization.methods import (
    learns_rounding,
    needs_calibration,
    planning_spec,
    time_over_gptq,
)
from faq_pipeline.quantization.methods.autoround import BATCH

WIDTH_OVER_GPTQ = 3
"""How many times as long as a quantization with GPTQ each width of a plan takes, with its forward passes:
with four widths 12 times, on a CPU."""


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
    where = f"on {device_kind(cell.device)}"
    plan, planned = "", planning_spec(spec)
    slower = time_over_gptq(spec) if runs_on_cpu(cell.device) else None
    likened = f"gptq {where}"
    if spec.plan is not None:
        widths = len(spec.plan.bits)
        plan = f" and a bit plan from {widths} widths"
        if planned is spec:
            likened = f"gptq{plan} {where}"
        else:
            plan += f" of {planned.method}"
            slower = None if slower is None else slower + WIDTH_OVER_GPTQ * widths
    return StageWork(
        f"{spec.method}{plan} {where}",
        tokens,
        parameters,
        parameters,
        f"{spec.scheme} {spec.group_size}",
        gpus=1,
        worth=None if slower is None else (likened, slower * read * parameters),
    )
