"""Second moments of the target's inference traces: the reference that samples are compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from faq_pipeline.activations.fitness import FLOOR, squared_log_ratios
from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.models.device import compute_identity
from faq_pipeline.store.fingerprint import tool_version
from faq_pipeline.store.records import Trace

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from faq_pipeline.activations.sample_moments import Input


@dataclass(frozen=True)
class TraceMoments:
    """Second moments over all tokens of the traces, of the channels of all inputs one after the other.

    Attributes:
        means: E[x^2] by channel, float32 on the CPU, shape (channels,).
        inputs: the inputs of the target's linear layers, in the model's order.
    """

    means: torch.Tensor
    inputs: tuple[Input, ...]

    @cached_property
    def shares(self) -> torch.Tensor:
        """How much each channel counts in a mean over the linear layers, shape (channels,), sum 1.

        Every layer counts alike, and in it every channel; an input that several layers read counts
        once for each, as in the fitness of a whole set.
        """
        layers = sum(one.readers for one in self.inputs)
        return self._by_input(lambda one, _: one.readers / layers / one.channels)

    @cached_property
    def floor(self) -> torch.Tensor:
        """What keeps silent channels finite, as in the fitness of a whole set; 1 in silent inputs."""
        return self._by_input(lambda _, means: FLOOR * float(means.mean()) or 1.0)

    def mismatch(self, moments: torch.Tensor) -> torch.Tensor:
        """Fitness of sets of samples by their moments, shape (sets, channels): one figure a set."""
        return squared_log_ratios(moments, self.means, self.floor) @ self.shares

    def split(self, channels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The part of each input, of a vector over all channels."""
        return channels.split([one.channels for one in self.inputs])

    def thinned(self, most: int) -> tuple[torch.Tensor, TraceMoments]:
        """At most so many channels of each input, evenly spaced: which, and their moments."""
        import torch

        kept, start = [], 0
        for one in self.inputs:
            places = torch.linspace(0, one.channels - 1, min(most, one.channels)).round().long()
            kept.append(start + places)
            start += one.channels
        inputs = tuple(
            replace(one, channels=len(places)) for one, places in zip(self.inputs, kept, strict=True)
        )
        channels = torch.cat(kept)
        return channels, TraceMoments(self.means[channels], inputs)

    def _by_input(self, value: Callable[[Input, torch.Tensor], float]) -> torch.Tensor:
        import torch

        parts = zip(self.inputs, self.split(self.means), strict=True)
        return torch.cat([torch.full_like(means, value(one, means)) for one, means in parts])


def trace_moments(
    model: PreTrainedModel, traces: Sequence[Trace], advance: Callable[[int], None]
) -> TraceMoments:
    """Moments of the traces under the target.

    Raises:
        FaqError: there is no trace.
    """
    import torch

    from faq_pipeline.activations.sample_moments import sample_moments

    sequences = [trace.input_ids for trace in traces if trace.input_ids]
    if not sequences:
        raise FaqError("there are no inference traces to compare activations with")
    total, tokens = torch.zeros(1, dtype=torch.float64), 0
    for batch in sample_moments(model, sequences, advance):
        total = total + batch.tokens.double() @ batch.squares.double()
        tokens += int(batch.tokens.sum())
        inputs = batch.inputs
    return TraceMoments((total / tokens).float(), inputs)


def activations_identity(cell: Cell) -> dict[str, Any]:
    """Fingerprint inputs of the target's activations on a calibration sample."""
    spec = cell.recipe.calibration
    return {
        "weights": cell.target.digest,
        "tokenizer": cell.target.tokenizer_digest,
        "prompts": cell.family.prompts.model_dump(),
        "thinking": cell.family.thinking.model_dump(),
        "template": spec.template,
        **({} if spec.reasoning == "keep" else {"reasoning": spec.reasoning}),
        "tools": {name: tool_version(name) for name in ("torch", "transformers")},
        **compute_identity(cell.target.member, cell.device),
    }


@contextmanager
def measuring(cell: Cell) -> Iterator[PreTrainedModel]:
    """The target in memory, released afterwards."""
    from faq_pipeline.models.loading import load_model, release

    model = load_model(cell.target, cell.device)
    try:
        yield model
    finally:
        del model
        release()
