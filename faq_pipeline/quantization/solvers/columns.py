"""GPTQ's loop over a layer's columns, for solvers that add a term of their own to it.

With the Hessian H of the inputs, dampened, H^-1 = U^T U for an upper triangular U. Once column j is rounded
to q_j, the columns after it lose (w_j - q_j) / U_jj times U_j. That is done at once within a block, and
block by block in the rest of the layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from llmcompressor.modifiers.gptq.helpers import apply_activation_ordering, factorize_hessian

from faq_pipeline.quantization.solvers.grid import Grid
from faq_pipeline.quantization.solvers.protocol import Problem, Solved


class Term(Protocol):
    """What a solver does to columns that are not rounded yet, after GPTQ has handed an error on to them."""

    def in_block(self, block: torch.Tensor, start: int, index: int, used: torch.Tensor) -> None:
        """Change the columns after `index` of a block in place.

        Args:
            block: shape (rows, columns of the block).
            start: the block's first column in the layer.
            index: the column of the block that was just rounded.
            used: that column as it was when it was rounded, shape (rows,).
        """
        ...

    def after_block(self, weights: torch.Tensor, start: int, end: int, used: torch.Tensor) -> None:
        """Change the columns from `end` on in place, once those from `start` to `end` are rounded.

        Args:
            weights: shape (rows, columns).
            used: the block's columns as they were when they were rounded, shape (rows, end - start).
        """
        ...


@dataclass(frozen=True)
class OrderedLayer:
    """A layer whose columns are in the order in which they are rounded.

    Attributes:
        weights: shape (rows, columns), float32; 0 in columns whose inputs were always zero.
        factor: U, shape (columns, columns); the identity where the Hessian could not be inverted.
        order: shape (columns,); None: as they come.
        failed: whether the Hessian could not be inverted, shape (1,).
    """

    weights: torch.Tensor
    factor: torch.Tensor
    order: torch.Tensor | None
    failed: torch.Tensor


def ordered_layer(problem: Problem) -> OrderedLayer:
    """The problem's layer as GPTQ takes it."""
    weights, hessians, order = apply_activation_ordering(
        problem.weights.clone(), problem.hessians.clone(), problem.arguments.actorder
    )
    failed = torch.zeros(1, dtype=torch.bool, device=weights.device)
    factors = factorize_hessian(weights, hessians, problem.dampening, failed)
    return OrderedLayer(weights[0], factors[0], None if order is None else order[0], failed)


def round_columns(problem: Problem, layer: OrderedLayer, term: Term | None) -> Solved:
    """Round the columns of a layer one by one. Without a term this is GPTQ, to the byte."""
    grid, weights, factor = Grid(problem, layer.order), layer.weights.clone(), layer.factor
    rows, columns = weights.shape
    losses = torch.zeros(1, rows, device=weights.device)
    for start in range(0, columns, problem.block):
        end = min(start + problem.block, columns)
        solved, used, errors = _block(grid, weights[:, start:end], factor[start:end, start:end], term, start)
        weights[:, start:end] = solved
        losses += errors.square().sum(1) / 2
        # In the library's own terms, so that the sums have the same bytes.
        weights[:, end:] -= torch.bmm(errors[None], factor[None, start:end, end:])[0]
        if term is not None:
            term.after_block(weights, start, end, used)
    if layer.order is not None:
        weights = weights[:, torch.argsort(layer.order)]
    return Solved(weights[None].to(problem.weights.dtype), losses.sum(dim=1), layer.failed)


def _block(
    grid: Grid, weights: torch.Tensor, own: torch.Tensor, term: Term | None, start: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Columns of a block, rounded; as they were when they were rounded; and their scaled errors."""
    block = weights.clone()
    solved, used, errors = torch.zeros_like(block), torch.zeros_like(block), torch.zeros_like(block)
    for i in range(block.shape[1]):
        column = block[:, i].clone()
        rounded = grid.nearest(column, start + i)
        error = (column - rounded) / own[i, i]
        solved[:, i], used[:, i], errors[:, i] = rounded, column, error
        block[:, i:] -= error[:, None] * own[i, i:]
        if term is not None:
            term.in_block(block, start, i, column)
    return solved, used, errors
