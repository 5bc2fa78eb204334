"""Selects samples that are typical of each kind of sample in the pool."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from faq_pipeline.calibration.selectors.protocol import Pool
from faq_pipeline.calibration.selectors.turns import Turns, clustered


@dataclass(frozen=True)
class Centroid:
    """Clusters take turns, and in a cluster the sample nearest to the centroid goes first.

    Clusters are those of k-means on the mean last hidden states of the samples in the target, scaled to
    length 1. After ACDM (activation centroids; ACL SELVA 2026), of which we know the abstract; the
    features, the number of clusters and the turns are ours.
    """

    name: str = "centroid"
    needs_activations: bool = True

    def start(self, pool: Pool) -> Turns:
        """Measure every sample, and cluster. The same pool gives the same clusters."""
        assert pool.activations is not None
        found: dict[int, npt.NDArray[np.float64]] = {}
        for samples, means in pool.activations.hidden(pool.samples):
            found |= dict(zip(samples, means.double().numpy(), strict=True))
        features = np.stack([found[i] for i in range(len(pool.samples))])
        features /= np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
        return Turns(*clustered(features))
