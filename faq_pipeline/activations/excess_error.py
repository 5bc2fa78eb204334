"""Excess error: how much worse GPTQ does on the target's own inputs, calibrated on other text than those.

GPTQ rounds the columns of a weight one after the other, and lets later columns make up for each error by
the Hessian H of the calibration set. Let H^-1 = U^T U, U upper triangular, and M be U with its rows divided
by its diagonal. If a column's rounding error is independent noise of variance v, the layer's error is noise
times M, and its expected squared output error on inputs with the Hessian G is

    v tr(M G M^T)     for each row of the weight.

For G = H this is v times the trace of D of the LDL decomposition, the proxy loss of QuIP (arXiv
2307.13304). Excess error of a layer is ln tr(M G M^T) with M of the calibration set, less the same with M of
the traces, G being the traces' Hessian in both. It is 0 where both sets say the same of the layer, grows as
a set misleads the rounding, and sees what second moments by channel do not: correlations, and sets of too
few tokens. The trace is linear in G, so that with few traces it is noisy, but not too small on average.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

import torch

from faq_pipeline.store.records import LayerExcess

if TYPE_CHECKING:
    from faq_pipeline.activations.input_hessians import InputHessian

DAMPENING = 0.1
"""Share of the Hessian's mean diagonal that is added to its diagonal, as the shipped GPTQ recipes do."""


def excess_errors(calibration: Sequence[InputHessian], traces: Sequence[InputHessian]) -> list[LayerExcess]:
    """One row an input, in the model's order; inputs that saw no token (idle experts) are left out."""
    own = {one.readers[0]: one for one in traces}
    found = []
    for one in calibration:
        name = one.readers[0]
        if name in own and float(one.mean.trace()) > 0 and float(own[name].mean.trace()) > 0:
            value = excess_error(one.mean, own[name].mean)
            found.append(LayerExcess(name, len(one.readers), value))
    return found


def mean_excess(rows: Sequence[LayerExcess]) -> float | None:
    """Mean over linear layers; None without any."""
    return fmean(row.excess for row in rows for _ in range(row.readers)) if rows else None


def excess_error(calibration: torch.Tensor, traces: torch.Tensor) -> float:
    """Excess error of a layer, of two Hessians of shape (channels, channels)."""
    calibration, traces = calibration.double(), traces.to(calibration.device).double()
    return float(torch.log(expected_error(calibration, traces) / expected_error(traces, traces)))


def expected_error(calibration: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """tr(M G M^T): squared output error on inputs of Hessian G, for noise of variance 1 a column.

    Columns go from the largest diagonal element of the calibration set's Hessian to the smallest, as
    GPTQ takes them with a static order.
    """
    order = calibration.diagonal().argsort(descending=True, stable=True)
    damped = calibration[order][:, order].clone()
    damped.diagonal().add_(DAMPENING * damped.diagonal().mean())
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    upper = torch.linalg.cholesky(inverse, upper=True)
    spread = upper / upper.diagonal().unsqueeze(1)
    return ((spread @ inputs[order][:, order]) * spread).sum()
