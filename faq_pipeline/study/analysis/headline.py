"""The headline of a study: the loss reduction by regenerated data, over the primary conditions.

A condition (target x quantizer) is *primary* if the loss of the better original exceeds its noise floor
(the half-width of its 95% interval) by a factor that the study sets. This is decided on pilot cells, with
draws (and, if the study says so, questions) that the headline does not use. Otherwise a condition chosen
because its original did badly by chance, and then evaluated with the same numbers, would look too good.

On a primary condition, the baseline is the original, raw or templated, with the smaller loss on the
headline's own cells. This choice can only make the headline smaller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from faq_pipeline.config.study import Study
from faq_pipeline.evaluation.bootstrap import Array
from faq_pipeline.study.analysis.crossed import Crossed, Figure
from faq_pipeline.study.analysis.outcomes import Condition, ScoreKey


@dataclass(frozen=True)
class HeadlineCondition:
    """A condition with the decision whether it is primary.

    Attributes:
        original: the original arm with the smaller loss on the pilot cells.
        loss: its loss there; None if pilot cells are missing.
    """

    condition: Condition
    original: str
    loss: Figure | None
    primary: bool

    @property
    def noise_floor(self) -> float | None:
        return None if self.loss is None else self.loss.estimate.half_width


@dataclass(frozen=True)
class Headline:
    """1 - sum of the arm's losses / sum of the better originals' losses.

    Attributes:
        originals: the better original, by primary condition.
        reason: why there is no figure; empty if there is one.
    """

    figure: Figure | None
    originals: Mapping[Condition, str]
    reason: str


def choose(
    study: Study, pilot: Crossed[ScoreKey], conditions: Sequence[Condition]
) -> list[HeadlineCondition]:
    """Decide which conditions are primary, from the losses on pilot cells."""
    return [_chosen(study, pilot, condition) for condition in conditions]


def headline(study: Study, losses: Crossed[ScoreKey], chosen: Sequence[HeadlineCondition]) -> Headline:
    """The study's headline over the primary conditions."""
    primary = [one.condition for one in chosen if one.primary]
    if not primary:
        return Headline(None, {}, "no condition is primary")
    wanted = [
        ScoreKey(*condition, arm) for condition in primary for arm in (study.headline, *study.originals.both)
    ]
    if missing := [key for key in wanted if key not in losses.samples]:
        return Headline(None, {}, f"{missing[0].arm} on {' '.join(missing[0].condition)} has no figures")
    originals = {condition: _better(study, losses, condition) for condition in primary}
    mine = [ScoreKey(*condition, study.headline) for condition in primary]
    theirs = [ScoreKey(*condition, arm) for condition, arm in originals.items()]

    def reduction(means: Mapping[ScoreKey, Array]) -> Array:
        lost: Array = sum((means[key] for key in mine[1:]), start=means[mine[0]])
        original: Array = sum((means[key] for key in theirs[1:]), start=means[theirs[0]])
        with np.errstate(divide="ignore", invalid="ignore"):
            return 1 - lost / original

    figure = losses.estimate([*mine, *theirs], reduction)
    reason = "" if figure is not None else "its cells share no draw, or its originals lose nothing"
    return Headline(figure, originals, reason)


def _chosen(study: Study, pilot: Crossed[ScoreKey], condition: Condition) -> HeadlineCondition:
    if any(ScoreKey(*condition, arm) not in pilot.samples for arm in study.originals.both):
        return HeadlineCondition(condition, "", None, False)
    name = _better(study, pilot, condition)
    loss = pilot.estimate([ScoreKey(*condition, name)], lambda means: means[ScoreKey(*condition, name)])
    assert loss is not None
    return HeadlineCondition(
        condition, name, loss, loss.value > study.primary.times * loss.estimate.half_width
    )


def _better(study: Study, losses: Crossed[ScoreKey], condition: Condition) -> str:
    """The original with the smaller loss on a condition; raw if they are equal."""

    def lost(arm: str) -> float:
        figure = losses.estimate([ScoreKey(*condition, arm)], lambda means: means[ScoreKey(*condition, arm)])
        assert figure is not None
        return figure.value

    return min(study.originals.both, key=lost)
