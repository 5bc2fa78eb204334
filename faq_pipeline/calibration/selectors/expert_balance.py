"""Selects samples whose tokens go to the routed experts that have seen the fewest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from faq_pipeline.calibration.selectors.protocol import Pool

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ExpertBalance:
    """The sample with the largest gain per token of the sum of ln(1 + n) over all experts of all layers.

    n is the number of tokens of the set that the router sends to the expert in the unquantized target. The
    logarithm makes a token count most where an expert has few: the sum is largest, for a given number of
    tokens, where they are spread evenly. Experts with little routed data have the Hessians that are known
    least.

    After EAQuant (arXiv 2506.13329), which balances calibration data over experts, and of which we know the
    abstract. The greedy form, the logarithm and the cost in tokens are ours.
    """

    name: str = "expert_balance"
    needs_activations: bool = True
    needs_experts: bool = True

    def start(self, pool: Pool) -> _Balancing:
        """Send every sample through the routers: one figure is kept an expert and sample."""
        assert pool.activations is not None
        counts = [own.numpy() for own in pool.activations.routed(pool.samples)]
        return _Balancing(np.array(counts, dtype=np.float64), np.array([len(ids) for ids in pool.samples]))


class _Balancing:
    def __init__(self, counts: Floats, tokens: npt.NDArray[np.int64]) -> None:
        self._counts, self._tokens = counts, tokens
        self._seen = np.zeros(counts.shape[1])

    def best(self, options: Sequence[int]) -> int:
        grown = np.log1p(self._seen + self._counts[options]) - np.log1p(self._seen)
        return options[int(np.argmax(grown.sum(1) / self._tokens[options]))]

    def take(self, sample: int) -> None:
        self._seen += self._counts[sample]
