"""Similarity of a candidate's activations to those of the target's own answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from faq_pipeline.activations.trace_moments import TraceMoments
from faq_pipeline.competition.expert import Context, Group, Need
from faq_pipeline.competition.moments_expert import Rate, score_by_moments


@dataclass(frozen=True)
class ActivationFidelity:
    """-mean over linear layers of the mean over input channels of ln(m_c / m_t)^2.

    m_c and m_t are the channel's second moments on the candidate, as it would calibrate, and on
    all of the target's inference traces: the fitness of the calibration set (`calibration.fitness`)
    that this candidate alone would be. Ours. Abstains on candidates longer than the target's context.
    """

    name: str = "activation_fidelity"
    needs: tuple[Need, ...] = ("activations", "traces")

    def rate_against(self, traces: TraceMoments) -> Rate:
        """Minus the mismatch."""
        return lambda moments: -traces.mismatch(moments)

    def score(self, groups: Sequence[Group], context: Context) -> list[float | None]:
        """All candidates in one pass."""
        return score_by_moments([self], groups, context)[self.name]
