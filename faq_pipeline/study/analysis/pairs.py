"""Compare pairs of arms draw by draw and question by question, with minimum detectable effects.

Each listed pair is tested twice: by the loss (over the conditions that answer questions) and by the KL on
tasks (over all of its conditions). Holm's method corrects the p-values over all these tests. The figures
of single conditions and of the KL on prose are descriptive and are not tested.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from statsmodels.stats.multitest import multipletests

from faq_pipeline.config.study import Pair, Study
from faq_pipeline.evaluation.bootstrap import Array
from faq_pipeline.study.analysis.crossed import Crossed, Figure
from faq_pipeline.study.analysis.outcomes import Condition, ScoreKey

TESTED = ("loss", "kl")
ALPHA = 0.05
FEW = {1: "one draw", 2: "two draws"}
"""Numbers of draws with which intervals are not known to hold; `test_crossed.py` tries three and more."""


@dataclass(frozen=True)
class Compared:
    """A pair of arms compared by one outcome. Positive figures favour `pair.arm`.

    Attributes:
        outcome: `loss` (difference of the losses, as a share of the questions), or `kl`, `kl_prose`
            (logarithm of the ratio of the other arm's KL to this arm's).
        figure: the mean over the pair's conditions; None if there are none.
        conditions: the figure of each condition.
        holm: the p-value, corrected for all tests of the study; None if the outcome is not tested.
    """

    pair: Pair
    outcome: str
    figure: Figure | None
    conditions: Mapping[Condition, Figure]
    holm: float | None = None

    @property
    def verdict(self) -> str:
        """The conclusion in words."""
        figure = self.figure
        if figure is None:
            return "not measured"
        if figure.low <= 0 <= figure.high:
            return "not shown"
        found = "shown: better" if figure.value > 0 else "shown: worse"
        if self.holm is None or self.holm < ALPHA:
            return f"{found}, in {FEW[figure.draws]}" if figure.draws in FEW else found
        return "not shown (alone it would be, but not after correction for all comparisons)"


def compare_pairs(study: Study, outcomes: Mapping[str, Crossed[ScoreKey]]) -> list[Compared]:
    """Compare every pair of the study by every outcome, in the order of the study file."""
    found = [
        _compared(study, pair, outcome, crossed)
        for pair in study.pairs
        for outcome, crossed in outcomes.items()
    ]
    tested = [i for i, one in enumerate(found) if one.outcome in TESTED and one.figure is not None]
    if tested:
        corrected = multipletests([found[i].figure.p for i in tested], alpha=ALPHA, method="holm")[1]  # type: ignore[union-attr]
        for i, p in zip(tested, corrected, strict=True):
            found[i] = replace(found[i], holm=float(p))
    return found


def _compared(study: Study, pair: Pair, outcome: str, crossed: Crossed[ScoreKey]) -> Compared:
    conditions = [
        Condition(member, quantizer)
        for member in pair.members or study.members
        for quantizer in pair.quantizers or study.quantizers
        if all(ScoreKey(member, quantizer, arm) in crossed.samples for arm in (pair.arm, pair.than))
    ]
    single = {condition: gain(crossed, pair, [condition]) for condition in conditions}
    formed = {condition: figure for condition, figure in single.items() if figure is not None}
    return Compared(pair, outcome, gain(crossed, pair, list(formed)) if formed else None, formed)


def gain(crossed: Crossed[ScoreKey], pair: Pair, conditions: Sequence[Condition]) -> Figure | None:
    """The other arm's outcome minus this arm's, averaged over conditions."""
    mine = [ScoreKey(*condition, pair.arm) for condition in conditions]
    theirs = [ScoreKey(*condition, pair.than) for condition in conditions]

    def difference(means: Mapping[ScoreKey, Array]) -> Array:
        total: Array = sum(
            (means[b] - means[a] for a, b in zip(mine[1:], theirs[1:], strict=True)),
            start=means[theirs[0]] - means[mine[0]],
        )
        return total / len(mine)

    return crossed.estimate([*mine, *theirs], difference)
