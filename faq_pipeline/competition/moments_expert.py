"""Experts that score candidates by their activations in the target, all in one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from faq_pipeline.activations.trace_moments import TraceMoments, trace_moments
from faq_pipeline.competition.expert import Context, Expert, Group

if TYPE_CHECKING:
    import torch

Rate = Callable[["torch.Tensor"], "torch.Tensor"]
"""Second moments of samples, shape (samples, channels), to one figure each, shape (samples,)."""


@runtime_checkable
class MomentsExpert(Expert, Protocol):
    """An expert that needs only the second moments of a candidate."""

    def rate_against(self, traces: TraceMoments) -> Rate:
        """How it rates samples, given what the target's own traces do."""


def score_by_moments(
    experts: Sequence[MomentsExpert], groups: Sequence[Group], context: Context
) -> dict[str, list[float | None]]:
    """Every such expert's scores, by its name: one figure for each candidate, group after group.

    The target sees every text once, however many experts there are, and only the figures are kept.
    All abstain where there are no traces, and on candidates that `Context.samples` leaves out.
    """
    from faq_pipeline.activations.sample_moments import sample_moments

    scores: dict[str, list[float | None]] = {
        expert.name: [None for group in groups for _ in group.candidates] for expert in experts
    }
    samples = context.samples(groups)
    if not samples or not any(trace.input_ids for trace in context.traces):
        return scores
    context.progress.start("traces and candidates through the target", len(context.traces) + len(samples))
    traces = trace_moments(context.model, context.traces, context.progress.advance)
    rates = {expert.name: expert.rate_against(traces) for expert in experts}
    places = list(samples.values())
    for batch in sample_moments(context.model, list(samples), context.progress.advance):
        for name, rate in rates.items():
            for sample, value in zip(batch.samples, rate(batch.squares).tolist(), strict=True):
                for place in places[sample]:
                    scores[name][place] = value
    return scores
