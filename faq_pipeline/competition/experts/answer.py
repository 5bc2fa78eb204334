"""Verifier: whether the candidate's final answer equals the seed's answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from faq_pipeline.competition.answers import answers_match
from faq_pipeline.competition.expert import Context, Group, Need


@dataclass(frozen=True)
class AnswerExpert:
    """1 where the answers match, 0 where they do not; abstains where the seed has no answer."""

    name: str = "answer"
    needs: tuple[Need, ...] = ()

    def score(self, groups: Sequence[Group], context: Context) -> list[float | None]:
        """Compare final answers."""
        return [
            None if group.seed.answer is None else float(answers_match(c.answer, group.seed.answer))
            for group in groups
            for c in group.candidates
        ]
