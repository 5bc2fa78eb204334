"""The selector protocol: a selector chooses among winners of different seeds, one after the other.

A selector does not handle budget or balance: domains take turns with or without one, and the selector
says which sample of a domain comes next, given all that were taken before. The last round, which fills
the budget, belongs to `token_budget.select`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from faq_pipeline.activations.trace_moments import TraceMoments

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from faq_pipeline.activations.sample_moments import SampleMoments


@dataclass(frozen=True)
class Activations:
    """Inputs of the target's layers: on its own traces, and on samples.

    Attributes:
        scratch: a folder for what a selector does not keep in memory; what lies there goes.
    """

    model: PreTrainedModel
    traces: TraceMoments
    scratch: Path
    advance: Callable[[int], None]

    def of(self, samples: Sequence[Sequence[int]]) -> Iterator[SampleMoments]:
        """Second moments of the samples, a batch at a time."""
        from faq_pipeline.activations.sample_moments import sample_moments

        return sample_moments(self.model, samples, self.advance)

    def hidden(self, samples: Sequence[Sequence[int]]) -> Iterator[tuple[list[int], torch.Tensor]]:
        """Mean last hidden states of the samples, a batch at a time: `mean_hidden_states`."""
        from faq_pipeline.activations.hidden_states import mean_hidden_states

        return mean_hidden_states(self.model, samples, self.advance)

    def routed(self, samples: Sequence[Sequence[int]]) -> Iterator[torch.Tensor]:
        """Tokens of each sample that each routed expert gets, a sample at a time: `sample_routing`."""
        from faq_pipeline.activations.routing import sample_routing

        return sample_routing(self.model, samples, self.advance)


@dataclass(frozen=True)
class Pool:
    """The samples that may be chosen, in the draw's order, as the target's token ids.

    `activations` is there for selectors that need them.
    """

    samples: Sequence[Sequence[int]]
    activations: Activations | None = None


class Chooser(Protocol):
    """One selection under way. Samples are named by their place in the pool."""

    def best(self, options: Sequence[int]) -> int:
        """Which of the options (in the draw's order, at least one) to take next; ties to the first."""

    def take(self, sample: int) -> None:
        """This sample is in the set from now on."""


class Selector(Protocol):
    """One way to choose samples across seeds.

    One that needs a mixture of experts has an attribute `needs_experts` that is true: other targets are
    refused, before any work where their files are here, else before the set is made.
    """

    @property
    def name(self) -> str:
        """The name in a recipe's `calibration.selection`."""

    @property
    def needs_activations(self) -> bool:
        """Whether it needs the samples' activations in the target."""

    def start(self, pool: Pool) -> Chooser:
        """Begin a selection; everything about the samples is computed here."""
