"""Selects samples that are typical of each kind of sample in the pool."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from faq_pipeline.calibration.selectors.protocol import Pool

CLUSTERS = 16
"""Most clusters; at least four samples a cluster."""


@dataclass(frozen=True)
class Centroid:
    """Clusters take turns, and in a cluster the sample nearest to the centroid goes first.

    Clusters are those of k-means on the mean last hidden states of the samples in the target, scaled to
    length 1. After ACDM (activation centroids; ACL SELVA 2026), of which we know the abstract; the
    features, the number of clusters and the turns are ours.
    """

    name: str = "centroid"
    needs_activations: bool = True

    def start(self, pool: Pool) -> _Turns:
        """Measure every sample, and cluster. The same pool gives the same clusters."""
        from scipy.cluster.vq import kmeans2

        assert pool.activations is not None
        found: dict[int, npt.NDArray[np.float64]] = {}
        for samples, means in pool.activations.hidden(pool.samples):
            found |= dict(zip(samples, means.double().numpy(), strict=True))
        features = np.stack([found[i] for i in range(len(pool.samples))])
        features /= np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
        # No more clusters than there are distinct samples: k-means would leave some empty.
        count = max(1, min(CLUSTERS, len(features) // 4, len(np.unique(features, axis=0))))
        centroids, labels = kmeans2(features, count, minit="++", seed=0)
        distances = np.linalg.norm(features - centroids[labels], axis=1)
        return _Turns([int(label) for label in labels], [float(distance) for distance in distances])


@dataclass
class _Turns:
    labels: Sequence[int]
    distances: Sequence[float]
    taken: Counter[int] = field(default_factory=Counter)

    def best(self, options: Sequence[int]) -> int:
        return min(options, key=lambda sample: (self.taken[self.labels[sample]], self.distances[sample]))

    def take(self, sample: int) -> None:
        self.taken[self.labels[sample]] += 1
