"""QuantEase (arXiv 2309.01885): coordinate descent on the integers of a layer, from GPTQ's result.

The layer error f = tr((W - V) S (W - V)^T), S being the dampened Hessian and V the rounded weight, is a
parabola in each column of V, and its lowest point on the grid is the grid's value next to

    V_j + ((W - V) S)_j / S_jj.

Column by column, sweep after sweep, every entry moves there; none moves away from it, so f never rises.
The paper also has sweeps in which columns stay unrounded. They make sense from an unrounded start, and are
left out here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from llmcompressor.modifiers.gptq.helpers import apply_activation_ordering

from faq_pipeline.quantization.solvers.grid import Grid, gptq
from faq_pipeline.quantization.solvers.protocol import Problem, Solved

SWEEPS = 25
ENOUGH = 1e-4
"""Relative decrease of f in a sweep at which no further one is made."""


@dataclass(frozen=True)
class CoordinateDescent:
    """QuantEase after GPTQ, with at most `sweeps` sweeps."""

    sweeps: int = SWEEPS
    name: str = "quantease"

    def solve(self, problem: Problem) -> Solved:
        """GPTQ, then sweeps in GPTQ's column order. What GPTQ gave up stays rounded to nearest."""
        start = gptq(problem)
        if bool(start.fallback):
            return start
        weights, hessians, order = apply_activation_ordering(
            problem.weights.clone(), problem.hessians.clone(), problem.arguments.actorder
        )
        weight, hessian, rounded = weights[0], hessians[0], start.weights[0].to(weights.dtype, copy=True)
        weight[:, hessian.diagonal() == 0] = 0  # as GPTQ does
        dampen(hessian, problem.dampening)
        if order is not None:
            order = order[0]
            rounded = rounded[:, order]
        grid = Grid(problem, order)
        residual = (weight - rounded) @ hessian
        before = error(weight, rounded, residual)
        for _ in range(self.sweeps):
            _sweep(grid, rounded, residual, hessian, problem.block)
            now = error(weight, rounded, residual)
            if before - now <= ENOUGH * before:
                break
            before = now
        if order is not None:
            rounded = rounded[:, torch.argsort(order)]
        # GPTQ's own loss is half the sum of squared errors in terms of H, which is 2 x x^T: as here.
        return Solved(rounded[None].to(start.weights.dtype), now[None] / 2, start.fallback)


def dampen(hessian: torch.Tensor, dampening: float) -> None:
    """Make of a Hessian in place what GPTQ inverts: ones for inputs that were always zero, and a part of the
    mean added to the diagonal."""
    diagonal = hessian.diagonal()
    diagonal[diagonal == 0] = 1.0
    diagonal += dampening * diagonal.mean()


def error(weight: torch.Tensor, rounded: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
    """f, where `residual` is (weight - rounded) times the dampened Hessian."""
    return ((weight - rounded) * residual).sum()


def _sweep(
    grid: Grid, rounded: torch.Tensor, residual: torch.Tensor, hessian: torch.Tensor, block: int
) -> None:
    """Move every column once; `rounded` and `residual` are changed in place."""
    columns = rounded.shape[1]
    for start in range(0, columns, block):
        end = min(start + block, columns)
        near, own = residual[:, start:end].clone(), hessian[start:end, start:end]
        moves = torch.zeros_like(near)
        for i in range(end - start):
            now = rounded[:, start + i].clone()
            best = now + near[:, i] / own[i, i]
            found = grid.nearest(best, start + i)
            # Values of a grid in bf16 are not evenly spaced to the last bit.
            chosen = torch.where((found - best).abs() < (now - best).abs(), found, now)
            moves[:, i] = chosen - now
            rounded[:, start + i] = chosen
            near -= moves[:, i, None] * own[i]
        residual -= moves @ hessian[start:end]
