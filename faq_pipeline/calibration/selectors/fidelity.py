"""Selects samples whose joint activations match those of the target's own answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from faq_pipeline.activations.trace_moments import TraceMoments
from faq_pipeline.calibration.selectors.protocol import Pool
from faq_pipeline.calibration.selectors.table import Table

if TYPE_CHECKING:
    import torch

CHANNELS = 256
"""Channels of each input that are looked at, evenly spaced: enough for a mean over them."""


@dataclass(frozen=True)
class Fidelity:
    """Greedy moment matching: the next sample is the one that gives the set the best fitness.

    Fitness is that of `calibration.fitness`, over `CHANNELS` channels of each input and each sample
    on its own (in a packed row, later samples see earlier ones). Moments add up, so a set with one
    more sample costs one addition. Ours.
    """

    name: str = "fidelity"
    needs_activations: bool = True

    def start(self, pool: Pool) -> _Matching:
        """Measure every sample; the moments are kept on disk."""
        assert pool.activations is not None
        channels, traces = pool.activations.traces.thinned(CHANNELS)
        table = Table(pool.activations.scratch, len(channels))
        for batch in pool.activations.of(pool.samples):
            table.write(batch.samples, batch.squares[:, channels].numpy())
        return _Matching(table, traces, [len(ids) for ids in pool.samples])


class _Matching:
    def __init__(self, table: Table, traces: TraceMoments, tokens: Sequence[int]) -> None:
        self._table, self._traces, self._lengths = table, traces, tokens
        self._squares, self._tokens = traces.means.new_zeros(len(traces.means)), 0

    def best(self, options: Sequence[int]) -> int:
        import torch

        found = []
        for rows in self._table.chunks(options):
            tokens = torch.tensor([self._lengths[row] for row in rows]).unsqueeze(1)
            sums = self._squares + tokens * self._moments(rows)
            found.append(self._traces.mismatch(sums / (self._tokens + tokens)))
        return options[int(torch.cat(found).argmin())]

    def take(self, sample: int) -> None:
        self._squares += self._lengths[sample] * self._moments([sample])[0]
        self._tokens += self._lengths[sample]

    def _moments(self, rows: Sequence[int]) -> torch.Tensor:
        import torch

        return torch.from_numpy(self._table.read(rows))
