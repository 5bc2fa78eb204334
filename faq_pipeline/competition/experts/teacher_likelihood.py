"""Likelihood of a candidate under the model that wrote it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from faq_pipeline.competition.expert import Context, Group, Need


@dataclass(frozen=True)
class TeacherLikelihood:
    """Mean log-probability (nats) per token, as the engine recorded it; abstains where no model wrote."""

    name: str = "teacher_likelihood"
    needs: tuple[Need, ...] = ()

    def score(self, groups: Sequence[Group], context: Context) -> list[float | None]:
        """Read what the engine recorded."""
        return [
            None if c.logprob is None or c.tokens < 1 else c.logprob / c.tokens
            for group in groups
            for c in group.candidates
        ]
