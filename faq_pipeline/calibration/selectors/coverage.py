"""Selects samples that together excite the target's outlier channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from faq_pipeline.activations.outliers import find_outliers
from faq_pipeline.calibration.selectors.protocol import Pool

Bits = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Coverage:
    """Greedy weighted cover: the sample of the largest gain per token goes next.

    A sample's gain is the sum of w / (1 + k) over the outlier channels that it excites, w their
    weight and k how many samples of the set excite them already. Greedy weighted set cover over
    outlier channels is COVERCAL's (arXiv 2604.24008, of which we know the abstract); ours are what
    an outlier is and weighs (`calibration.outliers`), the cost in tokens, and 1 / (1 + k), which
    goes on covering where set cover would be done.
    """

    name: str = "coverage"
    needs_activations: bool = True

    def start(self, pool: Pool) -> _Covering:
        """Find the outliers, and who excites them: one bit an outlier and sample is kept."""
        assert pool.activations is not None
        outliers = find_outliers(pool.activations.traces)
        bits = np.zeros((len(pool.samples), -(-len(outliers.channels) // 8)), dtype=np.uint8)
        for batch in pool.activations.of(pool.samples):
            bits[batch.samples] = np.packbits(outliers.excited(batch.squares).numpy(), axis=1)
        tokens = np.array([len(ids) for ids in pool.samples])
        return _Covering(bits, outliers.weights.double().numpy(), tokens)


@dataclass
class _Covering:
    bits: Bits
    weights: npt.NDArray[np.float64]
    tokens: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.times = np.zeros(len(self.weights), dtype=np.int64)

    def best(self, options: Sequence[int]) -> int:
        gains = self._excited(options) @ (self.weights / (1 + self.times))
        return options[int(np.argmax(gains / self.tokens[options]))]

    def take(self, sample: int) -> None:
        self.times += self._excited([sample])[0]

    def _excited(self, samples: Sequence[int]) -> Bits:
        """Ones and zeros, shape (samples, outliers)."""
        return np.unpackbits(self.bits[samples], axis=1, count=len(self.weights))
