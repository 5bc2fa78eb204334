"""Clusters of samples that take turns, the sample nearest to its cluster's centroid first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

CLUSTERS = 16
"""Most clusters; at least four samples a cluster."""


@dataclass
class Turns:
    """A selection under way: the cluster with the fewest taken is next.

    Attributes:
        labels: the cluster of each sample of the pool.
        distances: of each sample from its cluster's centroid.
    """

    labels: Sequence[int]
    distances: Sequence[float]
    taken: Counter[int] = field(default_factory=Counter)

    def best(self, options: Sequence[int]) -> int:
        """The option nearest to its centroid, of the cluster with the fewest taken; ties to the first."""
        return min(options, key=lambda sample: (self.taken[self.labels[sample]], self.distances[sample]))

    def take(self, sample: int) -> None:
        """This sample is in the set from now on."""
        self.taken[self.labels[sample]] += 1


def clustered(features: npt.NDArray[np.float64]) -> tuple[list[int], list[float]]:
    """The cluster of each sample by k-means, and its distance from the centroid.

    The same features give the same clusters.

    Args:
        features: shape (samples, features), at least one sample.
    """
    from scipy.cluster.vq import kmeans2

    # No more clusters than there are distinct samples: k-means would leave some empty.
    count = max(1, min(CLUSTERS, len(features) // 4, len(np.unique(features, axis=0))))
    centroids, labels = kmeans2(features, count, minit="++", seed=0)
    distances = np.linalg.norm(features - centroids[labels], axis=1)
    return [int(label) for label in labels], [float(distance) for distance in distances]
