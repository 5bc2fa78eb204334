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
        return descended(problem, self.sweeps)[0]


def descended(problem: Problem, sweeps: int) -> tuple[Solved, Descent | None]:
    """QuantEase's result, and the layer as it is then; None where GPTQ gave it up."""
    start = gptq(problem)
    if bool(start.fallback):
        return start, None
    layer = Descent(problem, start.weights[0])
    layer.descend(Grid(problem, layer.order), sweeps)
    return layer.solved(start), layer


class Descent:
    """A rounded layer on its way to a lower error.

    Attributes:
        order: the columns in the order of the sweeps, shape (columns,); None: as they come.
        weight: W in that order, shape (rows, columns), float32; 0 where inputs were always zero.
        hessian: S in that order, shape (columns, columns).
        rounded: V in that order.
        residual: (W - V) S.
    """

    def __init__(self, problem: Problem, rounded: torch.Tensor) -> None:
        """
        Args:
            rounded: V to start with, columns as they come.
        """
        weights, hessians, order = apply_activation_ordering(
            problem.weights.clone(), problem.hessians.clone(), problem.arguments.actorder
        )
        self.order = None if order is None else order[0]
        self.weight, self.hessian = weights[0], hessians[0]
        self.weight[:, self.hessian.diagonal() == 0] = 0  # as GPTQ does
        dampen(self.hessian, problem.dampening)
        self._block = problem.block
        self.rounded = self.ordered(rounded).to(self.weight.dtype, copy=True)
        self.residual = (self.weight - self.rounded) @ self.hessian

    def solved(self, start: Solved, scale: torch.Tensor | None = None) -> Solved:
        """The layer as a solver returns it.

        Args:
            start: GPTQ's result.
            scale: as in `Solved`.
        """
        return Solved(self.solution.to(start.weights.dtype), self.loss, start.fallback, scale)

    def ordered(self, columns: torch.Tensor) -> torch.Tensor:
        """A matrix whose columns are as they come, with columns in the order of the sweeps."""
        return columns if self.order is None else columns[:, self.order]

    def unordered(self, columns: torch.Tensor) -> torch.Tensor:
        """The reverse of `ordered`."""
        return columns if self.order is None else columns[:, torch.argsort(self.order)]

    @property
    def solution(self) -> torch.Tensor:
        """V as `Solved` has it."""
        return self.unordered(self.rounded)[None]

    @property
    def error(self) -> torch.Tensor:
        """f."""
        return ((self.weight - self.rounded) * self.residual).sum()

    @property
    def row_errors(self) -> torch.Tensor:
        """The share of each row in f, shape (rows,)."""
        return ((self.weight - self.rounded) * self.residual).sum(1)

    def take(self, rounded: torch.Tensor, allowed: torch.Tensor | None = None) -> torch.Tensor:
        """Take from another V the rows whose error is lower there.

        Args:
            rounded: it, columns in the order of the sweeps.
            allowed: rows that may be taken, shape (rows,); None: all.

        Returns:
            Which were taken.
        """
        residual = (self.weight - rounded) @ self.hessian
        taken = ((self.weight - rounded) * residual).sum(1) < self.row_errors
        if allowed is not None:
            taken &= allowed
        self.rounded = torch.where(taken[:, None], rounded, self.rounded)
        self.residual = torch.where(taken[:, None], residual, self.residual)
        return taken

    @property
    def loss(self) -> torch.Tensor:
        """f as `Solved` has it: GPTQ's own is half the sum of squared errors, with H of 2 x x^T."""
        return self.error[None] / 2

    def descend(self, grid: Grid, sweeps: int) -> None:
        """Sweep until that gains next to nothing."""
        before = self.error
        for _ in range(sweeps):
            self._sweep(grid)
            now = self.error
            if before - now <= ENOUGH * before:
                break
            before = now

    def _sweep(self, grid: Grid) -> None:
        """Move every column once."""
        for start in range(0, self.rounded.shape[1], self._block):
            end = min(start + self._block, self.rounded.shape[1])
            near, own = self.residual[:, start:end].clone(), self.hessian[start:end, start:end]
            moves = torch.zeros_like(near)
            for i in range(end - start):
                now = self.rounded[:, start + i].clone()
                best = now + near[:, i] / own[i, i]
                found = grid.nearest(best, start + i)
                # Values of a grid in bf16 are not evenly spaced to the last bit.
                chosen = torch.where((found - best).abs() < (now - best).abs(), found, now)
                moves[:, i] = chosen - now
                self.rounded[:, start + i] = chosen
                near -= moves[:, i, None] * own[i]
            self.residual -= moves @ self.hessian[start:end]


def dampen(hessian: torch.Tensor, dampening: float) -> None:
    """Make of a Hessian in place what GPTQ inverts: ones for inputs that were always zero, and a part of the
    mean added to the diagonal."""
    diagonal = hessian.diagonal()
    diagonal[diagonal == 0] = 1.0
    diagonal += dampening * diagonal.mean()
