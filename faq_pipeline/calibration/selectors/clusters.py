"""Selects from clusters of samples by their activations, and passes over unusual ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from faq_pipeline.calibration.selectors.protocol import Activations, Pool
from faq_pipeline.calibration.selectors.turns import Turns, clustered

FENCE = 1.5
"""Interquartile ranges beyond the quartiles from which a sample is unusual (Tukey's rule)."""


@dataclass(frozen=True)
class Clusters:
    """Clusters take turns, nearest to the centroid first; samples with unusual activations come last.

    A sample has two figures for each layer input: mean and standard deviation, over its channels, of ln of
    the channel's second moment. It is unusual where its distance from the pool's median, figures in units of
    their interquartile ranges, is outside [Q1 - 1.5 IQR, Q3 + 1.5 IQR] of all distances. The rest is
    clustered by k-means, each figure scaled to deviation 1.

    After QuantVGGT (arXiv 2509.21302), which filters samples by statistics of deep layers and then
    samples from clusters, and of which we know the abstract and the fence of its code. The figures, the
    distance, the number of clusters and the turns are ours.
    """

    name: str = "clusters"
    needs_activations: bool = True

    def start(self, pool: Pool) -> _UsualFirst:
        """Measure every sample, find the unusual ones, and cluster the rest."""
        assert pool.activations is not None
        figures = _figures(pool.activations, pool.samples)
        strangeness = _strangeness(figures)
        usual = np.flatnonzero(_within(strangeness))
        labels, distances = [_UsualFirst.UNUSUAL] * len(figures), [float(one) for one in strangeness]
        rest = figures[usual]
        found = clustered((rest - rest.mean(0)) / _positive(rest.std(0)))
        for sample, label, distance in zip(usual.tolist(), *found, strict=True):
            labels[sample], distances[sample] = label, distance
        return _UsualFirst(labels, distances)


class _UsualFirst(Turns):
    UNUSUAL = -1
    """The label of unusual samples; of them the least unusual goes first."""

    def best(self, options: Sequence[int]) -> int:
        return super().best([one for one in options if self.labels[one] != self.UNUSUAL] or options)


def _figures(activations: Activations, samples: Sequence[Sequence[int]]) -> npt.NDArray[np.float64]:
    """Mean and standard deviation of ln second moments, shape (samples, 2 x inputs)."""
    import torch

    traces = activations.traces
    found = np.zeros((len(samples), 2 * len(traces.inputs)))
    for batch in activations.of(samples):
        moments = torch.log(batch.squares + traces.floor)
        parts = moments.double().split([one.channels for one in traces.inputs], dim=1)
        statistics = [statistic for part in parts for statistic in (part.mean(1), part.std(1, correction=0))]
        found[batch.samples] = torch.stack(statistics, dim=1).numpy()
    return found


def _strangeness(figures: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The root mean square of each sample's figures, from the medians and by the interquartile ranges."""
    low, middle, high = np.quantile(figures, (0.25, 0.5, 0.75), axis=0)
    scaled: npt.NDArray[np.float64] = (figures - middle) / _positive(high - low)
    return np.sqrt(np.square(scaled).mean(1))


def _within(values: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    low, high = np.quantile(values, (0.25, 0.75))
    reach = FENCE * (high - low)
    return (values >= low - reach) & (values <= high + reach)


def _positive(scales: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Scales to divide by: 1 where a figure is the same everywhere, or as good as."""
    return np.where(scales > 1e-9, scales, 1.0)
