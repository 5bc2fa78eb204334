"""GPTAQ (arXiv 2504.02692): GPTQ that aims at the outputs of the unquantized model.

GPTQ keeps W x, where x is the layer's input in the model whose earlier layers are rounded already. GPTAQ
keeps W f, where f is the input in the unquantized model. With the Hessian H of the inputs x, dampened,
H^-1 = U^T U for an upper triangular U, and the cross term D = sum_t (f_t - x_t) x_t^T,

    P = alpha triu(D U^T, 1) U

tells how much of each weight the later columns take over: once column j is rounded, the rest of the layer
loses (w_j - q_j) / U_jj times U_j, as in GPTQ, and gains w_j times P_j. `ALPHA` is that of the authors'
published code.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from llmcompressor.modifiers.gptq.helpers import apply_activation_ordering, factorize_hessian

from faq_pipeline.quantization.solvers.grid import Grid
from faq_pipeline.quantization.solvers.protocol import Problem, Solved

ALPHA = 0.25


@dataclass(frozen=True)
class Asymmetric:
    """GPTAQ. With `alpha` 0 or no cross term it is GPTQ, to the byte."""

    alpha: float = ALPHA
    name: str = "gptaq"

    def solve(self, problem: Problem) -> Solved:
        """Column by column, in blocks."""
        weights, hessians, order = apply_activation_ordering(
            problem.weights.clone(), problem.hessians.clone(), problem.arguments.actorder
        )
        failed = torch.zeros(1, dtype=torch.bool, device=weights.device)
        factors = factorize_hessian(weights, hessians, problem.dampening, failed)
        taken_over = self._taken_over(problem, factors[0], order, bool(failed))
        order = None if order is None else order[0]
        grid = Grid(problem, order)
        losses = torch.zeros(weights.shape[:2], device=weights.device)
        columns = weights.shape[-1]
        for start in range(0, columns, problem.block):
            end = min(start + problem.block, columns)
            solved, used, errors = _block(grid, weights[0], factors[0], taken_over, start, end)
            weights[0, :, start:end] = solved
            losses += errors.square().sum(1) / 2
            # In the library's own terms, so that the sums have the same bytes.
            weights[:, :, end:] -= torch.bmm(errors[None], factors[:, start:end, end:])
            if taken_over is not None:
                weights[0, :, end:] += used @ taken_over[start:end, end:]
        if order is not None:
            weights = weights[:, :, torch.argsort(order)]
        return Solved(weights.to(problem.weights.dtype), losses.sum(dim=1), failed)

    def _taken_over(
        self, problem: Problem, factor: torch.Tensor, order: torch.Tensor | None, failed: bool
    ) -> torch.Tensor | None:
        """P, in the order in which columns are solved; None where the layer is to be rounded to nearest."""
        if problem.cross is None or failed:
            return None
        cross = problem.cross
        if order is not None:
            cross = cross[order[0]][:, order[0]]
        return self.alpha * (cross @ factor.T).triu(1) @ factor


def _block(
    grid: Grid,
    weights: torch.Tensor,
    factor: torch.Tensor,
    taken_over: torch.Tensor | None,
    start: int,
    end: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Columns `start` to `end`, rounded; as they were when they were rounded; and their scaled errors."""
    block = weights[:, start:end].clone()
    solved, used, errors = torch.zeros_like(block), torch.zeros_like(block), torch.zeros_like(block)
    own = factor[start:end, start:end]
    over = None if taken_over is None else taken_over[start:end, start:end]
    for i in range(end - start):
        column = block[:, i].clone()
        rounded = grid.nearest(column, start + i)
        error = (column - rounded) / own[i, i]
        solved[:, i], used[:, i], errors[:, i] = rounded, column, error
        block[:, i:] -= error[:, None] * own[i, i:]
        if over is not None:
            block[:, i:] += column[:, None] * over[i, i:]
    return solved, used, errors
