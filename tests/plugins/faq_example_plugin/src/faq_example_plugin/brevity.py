"""An expert that prefers short candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from faq_pipeline.competition.expert import Context, Group, Need


@dataclass(frozen=True)
class Brevity:
    """Minus the length in characters."""

    name: str = "brevity"
    needs: tuple[Need, ...] = ()

    def score(self, groups: Sequence[Group], context: Context) -> list[float | None]:
        """One figure for each candidate, group after group."""
        return [-float(len(candidate.text)) for group in groups for candidate in group.candidates]


BREVITY = Brevity()
