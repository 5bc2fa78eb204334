"""Selects samples that together use many distinct tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from faq_pipeline.calibration.selectors.protocol import Pool


@dataclass(frozen=True)
class Diversity:
    """Lexical diversity, greedily: the sample of the largest gain per token goes next.

    A sample's gain is the sum of 1 / (1 + k) over its distinct tokens, k how many samples of the set
    use the token already. After ZipCal (arXiv 2603.16105), which chooses for lexical diversity
    without a model, and of which we know the abstract; the formula is ours.
    """

    name: str = "diversity"
    needs_activations: bool = False

    def start(self, pool: Pool) -> _Widening:
        """Nothing is computed beforehand."""
        return _Widening([set(ids) for ids in pool.samples], [len(ids) for ids in pool.samples])


class _Widening:
    def __init__(self, kinds: Sequence[set[int]], tokens: Sequence[int]) -> None:
        self._kinds, self._tokens = kinds, tokens
        self._times: Counter[int] = Counter()

    def best(self, options: Sequence[int]) -> int:
        return max(options, key=self._gain)

    def take(self, sample: int) -> None:
        self._times.update(self._kinds[sample])

    def _gain(self, sample: int) -> float:
        return sum(1 / (1 + self._times[kind]) for kind in self._kinds[sample]) / self._tokens[sample]
