"""Length near the group's median."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from faq_pipeline.competition.expert import Context, Group, Need


@dataclass(frozen=True)
class Length:
    """-|ln(length / median)|, in characters.

    The median is that of the group's eligible candidates (a candidate cut at the limit says
    nothing about the right length). Being half as long is as bad as being twice as long. Far
    lengths are suspect both ways: a skipped step, or wandering; the best length of a seed is not
    known, but its group's consensus is. Characters and not tokens, so that the score does not
    depend on who wrote the text.
    """

    name: str = "length"
    needs: tuple[Need, ...] = ()

    def score(self, groups: Sequence[Group], context: Context) -> list[float | None]:
        """Compare with the middle of each group."""
        return [score for group in groups for score in _scores(group)]


def _scores(group: Group) -> list[float | None]:
    middle = median(_length(c.text) for c in group.eligible or group.candidates)
    return [-abs(math.log(_length(c.text) / middle)) for c in group.candidates]


def _length(text: str) -> int:
    return max(len(text.strip()), 1)
