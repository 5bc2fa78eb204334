"""Outlier channels: input channels of linear layers that are far larger than others of their layer.

A quantizer cannot account for a channel that its calibration set never excites. This is the idea of
COVERCAL (arXiv 2604.24008, known to us by its abstract): greedy, weighted coverage of outlier channels.
The definitions of an outlier, of excitation and of the weights are ours:

- a channel is an outlier where ln m, m its second moment on the target's own traces, lies more
  than `DEVIATIONS` robust standard deviations (1.4826 times the median absolute deviation) above
  the median of its layer's input;
- a sample excites it where its own second moment there is at least the traces';
- it weighs how far above the median it is, in ln; an input that several layers read, once for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from faq_pipeline.activations.trace_moments import TraceMoments

if TYPE_CHECKING:
    import torch

DEVIATIONS = 3.0
NORMAL = 1.4826
"""Median absolute deviations to standard deviations, where values are normal."""


@dataclass(frozen=True)
class Outliers:
    """The outlier channels of a model.

    Attributes:
        channels: their places among the channels of all inputs, shape (outliers,).
        thresholds: the second moment from which a sample excites each.
        weights: how much covering each is worth; their sum is 1.
    """

    channels: torch.Tensor
    thresholds: torch.Tensor
    weights: torch.Tensor

    def excited(self, moments: torch.Tensor) -> torch.Tensor:
        """Which outliers samples of these moments excite: (samples, channels) to (samples, outliers)."""
        return moments[:, self.channels] >= self.thresholds

    def coverage(self, moments: torch.Tensor) -> torch.Tensor:
        """The weight of all outliers that each sample excites, 0..1, shape (samples,)."""
        return self.excited(moments).to(self.weights.dtype) @ self.weights


def find_outliers(traces: TraceMoments) -> Outliers:
    """The outlier channels by the traces. There may be none."""
    import torch

    excess = []
    for one, means in zip(traces.inputs, traces.split(traces.means), strict=True):
        above = torch.log(means.clamp_min(torch.finfo(means.dtype).tiny))
        above = above - above.median()
        bound = DEVIATIONS * NORMAL * float(above.abs().median())
        excess.append(torch.where(above > bound, above * one.readers, 0.0))
    weights = torch.cat(excess)
    channels = weights.nonzero().squeeze(1)
    chosen = weights[channels]
    return Outliers(channels, traces.means[channels], chosen / chosen.sum())
