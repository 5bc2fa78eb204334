"""A selector that takes short samples first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from faq_pipeline.calibration.selectors.protocol import Pool


@dataclass(frozen=True)
class _Choice:
    lengths: Sequence[int]

    def best(self, options: Sequence[int]) -> int:
        return min(options, key=lambda sample: self.lengths[sample])

    def take(self, sample: int) -> None:
        """What was taken before does not matter."""


@dataclass(frozen=True)
class Shortest:
    """The fewest tokens first."""

    name: str = "shortest"
    needs_activations: bool = False

    def start(self, pool: Pool) -> _Choice:
        """Measure the samples."""
        return _Choice([len(ids) for ids in pool.samples])


SHORTEST = Shortest()
