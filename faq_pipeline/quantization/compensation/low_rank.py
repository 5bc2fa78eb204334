"""The best approximation of a layer's rounding error by low rank, under one of three norms.

Of all L R of rank r, the one that makes tr((E - L R) S (E - L R)^T) least is U U^T E, where U holds the r
leading eigenvectors of E S E^T: with any root A A^T = S it is the truncated singular value decomposition
of E A (Eckart and Young), brought back by A^-1, and it is found without a root or an inverse. S tells the
published methods apart:

- plain, S = 1: LoRC (ZeroQuant-V2, arXiv 2303.08302).
- diagonal, S = diag(mean x_j^2): SLiM (arXiv 2410.09615).
- hessian, S = mean x x^T: EoRA (arXiv 2410.21271), QERA (arXiv 2410.06040).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from faq_pipeline.config.quantization import Compensation


@dataclass(frozen=True)
class LowRank:
    """A matrix `up @ down`.

    Attributes:
        up: shape (rows, rank); what PEFT calls lora_B.
        down: shape (rank, columns); what PEFT calls lora_A.
    """

    up: torch.Tensor
    down: torch.Tensor

    @property
    def product(self) -> torch.Tensor:
        """The matrix, shape (rows, columns), in float32."""
        return self.up.float() @ self.down.float()


def low_rank(error: torch.Tensor, hessian: torch.Tensor, spec: Compensation, dampening: float) -> LowRank:
    """Approximate what rounding changed.

    Args:
        error: the weight less the rounded weight, shape (rows, columns), float32.
        hessian: the sum of x x^T over the layer's calibrated inputs, at any scale, shape (columns, columns).
        spec: rank (at most the lesser of rows and columns) and norm.
        dampening: share of the Hessian's mean diagonal that is added to its diagonal, as GPTQ has it.

    Returns:
        On the device of `error`, in float32.
    """
    core, basis = error, None
    if error.shape[0] > error.shape[1]:  # the same eigenvectors by a smaller matrix
        basis, core = torch.linalg.qr(error)
    product = _weighted(core, hessian, spec, dampening) @ core.T
    up = torch.linalg.eigh((product + product.T) / 2).eigenvectors[:, -spec.rank :]
    if basis is not None:
        up = basis @ up
    return LowRank(up, up.T @ error)


def _weighted(
    error: torch.Tensor, hessian: torch.Tensor, spec: Compensation, dampening: float
) -> torch.Tensor:
    """E S."""
    if spec.space == "plain":
        return error
    added = dampening * hessian.diagonal().mean()
    if spec.space == "diagonal":
        return error * (hessian.diagonal() + added)
    return error @ hessian + added * error
