"""decoupleQ (arXiv 2404.12759): integers and scales of a layer in turn, each the best for the other.

The error is that of QuantEase, f = tr((W - V) S (W - V)^T) with the dampened Hessian S, and it starts from
QuantEase's result. Then, round after round:

1. Integers are kept, and each row's scales are fitted in closed form (`scale_fit`) and rounded to the dtype
   in which they are stored.
2. Scales are kept, and integers are sought twice: by coordinate descent from those that are there, and by
   GPTQ and coordinate descent anew. Each row keeps the better.

A row's step that does not lower its error is refused, so no row's error ever rises. The published method
also has a float zero point for each group. No format of ours stores that: this is its symmetric form.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from faq_pipeline.quantization.solvers.coordinate_descent import SWEEPS, Descent, descended
from faq_pipeline.quantization.solvers.grid import Grid, gptq
from faq_pipeline.quantization.solvers.protocol import Problem, Solved
from faq_pipeline.quantization.solvers.scale_fit import fitted_scales

ROUNDS = 6
ENOUGH = 1e-3
"""Relative decrease of f in a round at which no further one is made."""


@dataclass(frozen=True)
class Decoupled:
    """decoupleQ in at most `rounds` rounds, with at most `sweeps` sweeps each time; with no round it is
    QuantEase."""

    rounds: int = ROUNDS
    sweeps: int = SWEEPS
    name: str = "decoupleq"

    def solve(self, problem: Problem) -> Solved:
        """QuantEase, then rounds. What GPTQ gave up stays rounded to nearest."""
        start, layer = descended(problem, self.sweeps)
        if layer is None:
            return start
        for _ in range(self.rounds):
            before = layer.error
            problem = replace(problem, scale=_fitted(problem, layer))
            _reround(problem, layer, self.sweeps)
            if before - layer.error <= ENOUGH * before:
                break
        return layer.solved(start, problem.scale)


def _fitted(problem: Problem, layer: Descent) -> torch.Tensor:
    """The scales after step 1, in the shape of the problem's; `layer` moves to their grid."""
    scale, steps = problem.scale[0], Grid(problem, layer.order).steps
    integers = (layer.rounded / steps).round()
    order = torch.arange(steps.shape[1], device=steps.device) if layer.order is None else layer.order
    found = fitted_scales(integers, layer.residual, layer.hessian, scale, order)
    found = found.to(problem.arguments.scale_dtype or scale.dtype).to(scale.dtype)
    allowed = (found > 0).all(1)
    found = torch.where(allowed[:, None], found, scale)
    grid = Grid(replace(problem, scale=found[None]), layer.order)
    taken = layer.take(grid.all_nearest(integers * grid.steps), allowed)
    return torch.where(taken[:, None], found, scale)[None]


def _reround(problem: Problem, layer: Descent, sweeps: int) -> None:
    """Step 2."""
    grid = Grid(problem, layer.order)
    layer.descend(grid, sweeps)
    anew = Descent(problem, gptq(problem).weights[0])
    anew.descend(grid, sweeps)
    layer.take(anew.rounded)
