"""How many of the target's outlier channels a candidate excites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from faq_pipeline.activations.outliers import find_outliers
from faq_pipeline.activations.trace_moments import TraceMoments
from faq_pipeline.competition.expert import Context, Group, Need
from faq_pipeline.competition.moments_expert import Rate, score_by_moments


@dataclass(frozen=True)
class OutlierCoverage:
    """Sum of the weights of the outlier channels that the candidate excites, 0..1.

    After COVERCAL (arXiv 2604.24008), whose weighted coverage is of a whole set (selection
    `coverage`); here it is one candidate's own. What an outlier is and what it weighs is ours, see
    `calibration.outliers`. Abstains on candidates longer than the target's context.
    """

    name: str = "outlier_coverage"
    needs: tuple[Need, ...] = ("activations", "traces")

    def rate_against(self, traces: TraceMoments) -> Rate:
        """The candidate's own coverage."""
        return find_outliers(traces).coverage

    def score(self, groups: Sequence[Group], context: Context) -> list[float | None]:
        """All candidates in one pass."""
        return score_by_moments([self], groups, context)[self.name]
