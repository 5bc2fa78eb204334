"""GPTAQ (arXiv 2504.02692): GPTQ that aims at the outputs of the unquantized model.

GPTQ keeps W x, where x is the layer's input in the model whose earlier layers are rounded already. GPTAQ
keeps W f, where f is the input in the unquantized model. With GPTQ's U (see `columns`) and the cross term
D = sum_t (f_t - x_t) x_t^T,

    P = alpha triu(D U^T, 1) U

tells how much of each weight the later columns take over: once column j is rounded, the rest of the layer
gains w_j times P_j. `ALPHA` is that of the authors' published code.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from faq_pipeline.quantization.solvers.columns import OrderedLayer, ordered_layer, round_columns
from faq_pipeline.quantization.solvers.protocol import Problem, Solved

ALPHA = 0.25


@dataclass(frozen=True)
class Asymmetric:
    """GPTAQ. With `alpha` 0 or no cross term it is GPTQ, to the byte."""

    alpha: float = ALPHA
    name: str = "gptaq"

    def solve(self, problem: Problem) -> Solved:
        """Column by column, in blocks."""
        layer = ordered_layer(problem)
        return round_columns(problem, layer, self._term(problem, layer))

    def _term(self, problem: Problem, layer: OrderedLayer) -> TakenOver | None:
        """None where there is no cross term, or the layer is to be rounded to nearest."""
        if problem.cross is None or bool(layer.failed):
            return None
        cross = problem.cross
        if layer.order is not None:
            cross = cross[layer.order][:, layer.order]
        return TakenOver(self.alpha * (cross @ layer.factor.T).triu(1) @ layer.factor)


@dataclass(frozen=True)
class TakenOver:
    """The term of GPTAQ.

    Attributes:
        shares: P, shape (columns, columns).
    """

    shares: torch.Tensor

    def in_block(self, block: torch.Tensor, start: int, index: int, used: torch.Tensor) -> None:
        """See `Term`."""
        later = slice(start + index + 1, start + block.shape[1])
        block[:, index + 1 :] += used[:, None] * self.shares[start + index, later]

    def after_block(self, weights: torch.Tensor, start: int, end: int, used: torch.Tensor) -> None:
        """See `Term`."""
        weights[:, end:] += used @ self.shares[start:end, end:]
