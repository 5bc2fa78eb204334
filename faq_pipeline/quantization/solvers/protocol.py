"""What a solver is given, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from compressed_tensors.quantization import QuantizationArgs


@dataclass(frozen=True)
class Problem:
    """One layer to be rounded.

    Tensors are llmcompressor's, whose first axis is a batch, here of one layer. A solver must not write
    into them: it clones what it changes.

    Attributes:
        weights: shape (1, rows, columns), float32.
        hessians: 2 sum_t x_t x_t^T / sequences over the inputs x of the model so far, not dampened, shape
            (1, columns, columns), float32.
        cross: 2 sum_t (f_t - x_t) x_t^T / sequences, f being the inputs of the unquantized model, shape
            (columns, columns); None where they were not gathered.
        scale, zero_point, global_scale: as the observer found them.
        arguments: the layer's grid.
        block: columns that are solved before the rest of the layer hears of them.
        dampening: share of the Hessian's mean diagonal that is added to its diagonal.
    """

    weights: torch.Tensor
    hessians: torch.Tensor
    cross: torch.Tensor | None
    scale: torch.Tensor
    zero_point: torch.Tensor
    global_scale: torch.Tensor | None
    arguments: QuantizationArgs
    block: int
    dampening: float


@dataclass(frozen=True)
class Solved:
    """A layer on its grid.

    Attributes:
        weights: shape (1, rows, columns).
        losses: what llmcompressor logs as the layer's loss, shape (1,).
        fallback: whether the Hessian could not be inverted and the layer was rounded to nearest, shape (1,).
        scale: where the solver chose other scales than it was given, in their shape and dtype; `weights`
            are on their grid.
    """

    weights: torch.Tensor
    losses: torch.Tensor
    fallback: torch.Tensor
    scale: torch.Tensor | None = None


class Solver(Protocol):
    """One way to choose a layer's integers, and its scales if it wants to."""

    @property
    def name(self) -> str:
        """What `recipe.yaml` of a checkpoint says."""
        ...

    def solve(self, problem: Problem) -> Solved:
        """Choose the integers. The same problem gives the same bytes."""
        ...
