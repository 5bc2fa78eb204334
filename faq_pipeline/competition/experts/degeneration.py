"""Repetition: a candidate that repeats itself is likely degenerate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from faq_pipeline.competition.expert import Context, Group, Need

WORDS = 4
"""Length of the runs of words that are counted; shorter ones repeat in any orderly reasoning."""


@dataclass(frozen=True)
class Degeneration:
    """Share of distinct runs of four words: 1 where no run occurs twice, near 0 in a loop."""

    name: str = "degeneration"
    needs: tuple[Need, ...] = ()

    def score(self, groups: Sequence[Group], context: Context) -> list[float | None]:
        """Count repeated runs."""
        return [distinct_share(c.text) for group in groups for c in group.candidates]


def distinct_share(text: str) -> float:
    """Distinct runs of `WORDS` words over all such runs; 1 for shorter texts."""
    words = text.split()
    runs = list(zip(*(words[i:] for i in range(WORDS)), strict=False))
    return len(set(runs)) / len(runs) if runs else 1.0
