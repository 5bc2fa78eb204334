"""FOEM, First-Order Error Matters (arXiv 2507.11017): GPTQ that counts the loss's slope too.

GPTQ takes the weights that are not rounded yet for a minimum of the loss. Once it has handed errors on to
them they have moved from W_0, where the model was trained, and the slope there is about beta (W - W_0).
So before column j is rounded, the columns R from j on step down along it:

    W_R -= beta (W - W_0)_R (H_RR)^-1,   (H_RR)^-1 = U_RR^T U_RR

with GPTQ's U (see `columns`). As in the authors' code, R are the columns of the block within a block, where
U_RR^T U_RR is only that part of the inverse over all columns that are left; and all that are left after it.
`BETA` is that of their weight-only experiments, and has the scale of H: of twice the sum over tokens, divided
by the number of sequences.

This is the form of the paper's first version and of its code. The second version takes beta (W - W_0) H for
the slope, so that H falls out of the step; GPTQModel has that one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from faq_pipeline.quantization.solvers.columns import ordered_layer, round_columns
from faq_pipeline.quantization.solvers.protocol import Problem, Solved

BETA = 3e-4


@dataclass(frozen=True)
class FirstOrder:
    """FOEM. With `beta` 0 it is GPTQ, to the byte."""

    beta: float = BETA
    name: str = "foem"

    def solve(self, problem: Problem) -> Solved:
        """Column by column, in blocks."""
        layer = ordered_layer(problem)
        return round_columns(problem, layer, Slope(self.beta, layer.weights, layer.factor))


@dataclass(frozen=True)
class Slope:
    """The term of FOEM. Where the Hessian could not be inverted no error is handed on, and it is zero.

    Attributes:
        original: W_0, shape (rows, columns).
        factor: U, shape (columns, columns).
    """

    beta: float
    original: torch.Tensor
    factor: torch.Tensor

    def in_block(self, block: torch.Tensor, start: int, index: int, used: torch.Tensor) -> None:
        """See `Term`."""
        self._descend(block[:, index + 1 :], start + index + 1)

    def after_block(self, weights: torch.Tensor, start: int, end: int, used: torch.Tensor) -> None:
        """See `Term`."""
        self._descend(weights[:, end:], end)

    def _descend(self, left: torch.Tensor, first: int) -> None:
        """Move columns, the first of which is `first`, in place."""
        own = slice(first, first + left.shape[1])
        factor = self.factor[own, own]
        left -= self.beta * (left - self.original[:, own]) @ factor.T @ factor
