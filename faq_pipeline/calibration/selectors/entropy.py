"""Selects samples whose activations differ from those taken before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from faq_pipeline.calibration.selectors.fidelity import CHANNELS
from faq_pipeline.calibration.selectors.protocol import Activations, Pool

DIMENSIONS = 64
"""Of a sample's features."""
_SEED = 0

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Entropy:
    """Greedy D-optimal design: the sample with the largest gain of log-determinant per token goes next.

    With A = I + the sum of x x^T over the set, a sample's gain is ln det(A + x x^T) - ln det A =
    ln(1 + x^T A^-1 x): twice what it adds to the entropy of a Gaussian fit to the set. A sample's x is its ln
    second moments, less the pool's mean, by one random projection to `DIMENSIONS`, and scaled so that a
    dimension has variance 1 in the pool. Over `CHANNELS` channels of each input, with the weights of the
    fitness, so that every layer counts alike.

    After PTQ4ARVG (arXiv 2601.21238), which chooses calibration samples for distributional entropy, and of
    which we know the abstract and that its code ranks by Mahalanobis distance from the mean. Such a ranking
    may take many samples that are alike; the greedy form, the features and the cost in tokens are ours.
    """

    name: str = "entropy"
    needs_activations: bool = True

    def start(self, pool: Pool) -> _Spreading:
        """Measure every sample: `DIMENSIONS` figures each are kept."""
        assert pool.activations is not None
        features = log_features(pool.activations, pool.samples)
        return _Spreading(features, np.array([len(ids) for ids in pool.samples]))


class _Spreading:
    def __init__(self, features: Floats, tokens: npt.NDArray[np.int64]) -> None:
        self._features, self._tokens = features, tokens
        self._inverse = np.eye(features.shape[1])
        self._leverages = np.square(features).sum(1)
        """x^T A^-1 x of each sample."""

    def best(self, options: Sequence[int]) -> int:
        return options[int(np.argmax(np.log1p(self._leverages[options]) / self._tokens[options]))]

    def take(self, sample: int) -> None:
        # Sherman-Morrison: (A + x x^T)^-1 = A^-1 - v v^T / (1 + x^T v), v = A^-1 x.
        direction = self._inverse @ self._features[sample]
        grown = 1 + self._features[sample] @ direction
        self._inverse -= np.outer(direction, direction) / grown
        # Nothing but rounding takes a leverage below 0.
        self._leverages = np.maximum(self._leverages - np.square(self._features @ direction) / grown, 0)


def log_features(activations: Activations, samples: Sequence[Sequence[int]]) -> Floats:
    """What `Entropy` compares samples by, shape (samples, `DIMENSIONS`)."""
    import torch

    channels, traces = activations.traces.thinned(CHANNELS)
    # The generator's numbers are the same in every process; every layer counts alike, as in the fitness.
    projection = np.random.default_rng(_SEED).standard_normal((len(channels), DIMENSIONS))
    projection *= traces.shares.sqrt().double().numpy()[:, np.newaxis]
    features = np.zeros((len(samples), DIMENSIONS))
    for batch in activations.of(samples):
        moments = torch.log(batch.squares[:, channels] + traces.floor)
        features[batch.samples] = moments.double().numpy() @ projection
    features -= features.mean(0)
    variance = np.square(features).mean()
    # Of samples that are all alike only rounding is left.
    return features / np.sqrt(variance) if variance > 1e-12 else np.zeros_like(features)
