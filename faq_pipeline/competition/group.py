"""The group competition: scores are normalised within the group, weighted and ranked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from faq_pipeline.competition.expert import Group
from faq_pipeline.store.records import Candidate, Score, Standing
from faq_pipeline.util.seeded_choice import hashed

DIGITS = 9
"""Normalised scores and totals are rounded here, so that float noise never decides a competition."""

Raw = Mapping[str, Sequence[float | None]]
"""An expert's scores of one group's candidates in order, by the expert's name."""


@dataclass(frozen=True)
class GroupResult:
    """The outcome of one group: every expert's score of every candidate, and the standings."""

    scores: list[Score]
    standings: list[Standing]

    @property
    def winner(self) -> Standing | None:
        """The winner's standing; None for a group without a winner, see `compete`."""
        return next((s for s in self.standings if s.winner), None)


def compete(
    group: Group, raw: Raw, weights: Mapping[str, float], random_draw: int | None = None
) -> GroupResult:
    """Let the candidates of one group compete.

    A candidate's total is the weighted mean of its normalised scores over the experts that scored
    it: an abstaining expert's weight is shared out among them in proportion to their own. Places
    go to eligible candidates first, then by total; equal totals by position. The first place wins. A
    group has no winner if no candidate is eligible, or if the only eligible one has a wrong answer.

    Args:
        random_draw: the draw's number for selection `random`: any eligible candidate wins,
            whatever its total; None for selection `experts`.
    """
    eligible = {c.id for c in group.eligible}
    sound = [c.id in eligible for c in group.candidates]
    normalised = {name: normalise_scores(raw[name], sound) for name in sorted(weights)}
    totals = [
        total({name: normalised[name][i] for name in normalised}, weights)
        for i in range(len(group.candidates))
    ]
    ranked = sorted(
        zip(group.candidates, totals, strict=True),
        key=lambda pair: (
            pair[0].id not in eligible,
            math.inf if pair[1] is None else -pair[1],
            pair[0].position,
        ),
    )
    winner = _winner(group, ranked, random_draw)
    standings = [
        Standing(c.id, group.seed.id, points, place, c.id == winner)
        for place, (c, points) in enumerate(ranked, 1)
    ]
    return GroupResult(_scores(group, raw, normalised), standings)


def normalise_scores(raw: Sequence[float | None], sound: Sequence[bool]) -> list[float | None]:
    """One expert's scores of a group as z-scores; None stays None, a value that is not finite too.

    z-scores rather than ranks: both remove the expert's scale and offset, but ranks would count a tiny
    difference as much as a large one. Mean and standard deviation are those of the eligible candidates
    (of all, if none is eligible), so that a broken candidate cannot decide between the others. Without
    spread all scores are 0: the expert has no preference.

    Args:
        sound: which of the candidates are eligible.
    """
    finite = [value if value is not None and math.isfinite(value) else None for value in raw]
    scored = [v for v in finite if v is not None]
    among = [v for v, ok in zip(finite, sound, strict=True) if v is not None and ok] or scored
    width = max(among) - min(among) if scored else 0.0
    if not 0 < width < math.inf:
        return [None if v is None else 0.0 for v in finite]
    # Measured from the smallest in units of the range, and summed exactly, so that neither offset,
    # nor scale, nor order matters beyond rounding.
    base = min(among)
    mean = math.fsum((v - base) / width for v in among) / len(among)
    spread = math.sqrt(math.fsum(((v - base) / width - mean) ** 2 for v in among) / len(among))
    return [None if v is None else round(((v - base) / width - mean) / spread, DIGITS) for v in finite]


def total(normalised: Mapping[str, float | None], weights: Mapping[str, float]) -> float | None:
    """Weighted mean of one candidate's scores over the experts that gave one; None if none did."""
    given = {name: value for name, value in normalised.items() if value is not None}
    if not given:
        return None
    shared = math.fsum(weights[name] for name in given)
    return round(math.fsum(weights[name] * value for name, value in given.items()) / shared, DIGITS)


def _winner(
    group: Group, ranked: Sequence[tuple[Candidate, float | None]], random_draw: int | None
) -> str | None:
    if not group.eligible or group.wrong_alone:
        return None
    if random_draw is None:
        return ranked[0][0].id
    by_position = sorted(group.eligible, key=lambda c: c.position)
    return by_position[hashed("winner", random_draw, group.seed.id) % len(by_position)].id


def _scores(group: Group, raw: Raw, normalised: Mapping[str, list[float | None]]) -> list[Score]:
    return [
        Score(c.id, group.seed.id, name, None if z is None else value, z)
        for name, zs in normalised.items()
        for c, value, z in zip(group.candidates, raw[name], zs, strict=True)
    ]
