"""Paired statistics over the questions that two or three models answered.

All intervals are 95% and come from resampling *questions*: every model's score of a question is
drawn together, so what is common to the models cancels. Where fewer than about ten questions are
answered differently, the interval is too narrow; the exact McNemar test is the guide there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from faq_pipeline.errors import FaqError
from faq_pipeline.evaluation.bootstrap import Array, IntervalEstimate, bootstrap_estimate
from faq_pipeline.store.tables import Answer

Verdict = Literal["better", "worse", "inconclusive"]
Key = tuple[str, str, str, int]

_NO_LOSS = 1e-12
"""Differences of means below this are rounding."""


@dataclass(frozen=True)
class PairedResult:
    """A quantized model beside its reference.

    Attributes:
        recovery: quantized / reference; None where the reference answers nothing correctly.
        loss: reference - quantized.
        noise_floor: half-width of the loss's interval; smaller losses cannot be told from none.
        mcnemar_p: two-sided, exact; over the questions that the models score differently.
        verdict: of the quantized model against the reference.
    """

    questions: int
    reference: IntervalEstimate
    quantized: IntervalEstimate
    recovery: IntervalEstimate | None
    loss: IntervalEstimate
    noise_floor: float
    mcnemar_p: float
    verdict: Verdict


@dataclass(frozen=True)
class LossReduction:
    """1 - loss(recipe) / loss(original), or why it is not formed."""

    estimate: IntervalEstimate | None
    reason: str


def join(*runs: Sequence[Answer]) -> Array:
    """Scores of the same questions under several models: (questions, runs), in the first run's order.

    Joined on task, doc hash and filter; a document that a task holds twice is told apart by its order.

    Raises:
        FaqError: the runs hold different questions, or asked one with different prompts.
    """
    keyed = [_keyed(run) for run in runs]
    for other in keyed[1:]:
        if keyed[0].keys() != other.keys():
            only, missing = len(other.keys() - keyed[0].keys()), len(keyed[0].keys() - other.keys())
            raise FaqError(
                f"these evaluations are over different questions ({missing} missing, {only} more)",
                hint="evaluate both under the same tasks and limit",
            )
        for key, answer in keyed[0].items():
            if other[key].prompt_hash != answer.prompt_hash:
                raise FaqError(
                    f"question {answer.doc_id} of {answer.task} was asked with different prompts",
                    hint="evaluate both with the same tokenizer, template and task",
                )
    if not keyed[0]:
        raise FaqError("this evaluation holds no questions")
    return np.array([[run[key].correct for run in keyed] for key in keyed[0]], dtype=np.float64)


def accuracy(correct: Array) -> IntervalEstimate:
    """Mean score: Wilson's interval for right and wrong, else bootstrap."""
    if not np.isin(correct, (0.0, 1.0)).all():
        return bootstrap_estimate(correct[:, None], lambda means: means[:, 0])
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(correct.sum(), len(correct), alpha=0.05, method="wilson")
    value = float(correct.mean())
    return IntervalEstimate(
        value, min(value, float(low)), max(value, float(high))
    )  # Wilson's ends may round past it


def compare_paired(reference: Sequence[Answer], quantized: Sequence[Answer]) -> PairedResult:
    """All figures of a quantized model against its reference.

    Raises:
        FaqError: as `join`.
    """
    scores = join(reference, quantized)
    loss = bootstrap_estimate(scores, lambda means: means[:, 0] - means[:, 1])
    recovery = bootstrap_estimate(scores, _recovery) if scores[:, 0].any() else None
    return PairedResult(
        questions=len(scores),
        reference=accuracy(scores[:, 0]),
        quantized=accuracy(scores[:, 1]),
        recovery=recovery,
        loss=loss,
        noise_floor=loss.half_width,
        mcnemar_p=mcnemar_p(scores),
        verdict=verdict(IntervalEstimate(-loss.value, -loss.high, -loss.low)),
    )


def mcnemar_p(scores: Array) -> float:
    """Exact two-sided McNemar test (a sign test where scores are fractions); scores: (questions, 2)."""
    from statsmodels.stats.contingency_tables import mcnemar

    lost = int((scores[:, 0] > scores[:, 1]).sum())
    won = int((scores[:, 0] < scores[:, 1]).sum())
    return min(1.0, float(mcnemar([[0, lost], [won, 0]], exact=True).pvalue))


def loss_reduction(
    reference: Sequence[Answer], quantized: Sequence[Answer], original: Sequence[Answer]
) -> LossReduction:
    """How much less is lost than with the original data, by paired bootstrap over questions.

    A resample in which the original loses nothing has no ratio; it is counted at the end where it
    hurts, half at either, which can only widen the interval.

    Raises:
        FaqError: as `join`.
    """
    scores = join(reference, quantized, original)
    lost = bootstrap_estimate(scores, lambda means: means[:, 0] - means[:, 2])
    if lost.value <= lost.half_width:
        return LossReduction(
            None,
            f"the original's loss {lost.value:.4f} is within the noise floor {lost.half_width:.4f}",
        )
    formed = bootstrap_estimate(scores, _reduction)
    if not np.isfinite([formed.low, formed.high]).all():
        return LossReduction(None, "the original's loss is too small for an interval")
    return LossReduction(formed, "")


def loss_difference(quantized: Sequence[Answer], baseline: Sequence[Answer]) -> IntervalEstimate:
    """loss(recipe) - loss(baseline), paired by question; the reference cancels.

    Raises:
        FaqError: as `join`.
    """
    return bootstrap_estimate(join(quantized, baseline), lambda means: means[:, 1] - means[:, 0])


def verdict(gain: IntervalEstimate) -> Verdict:
    """What an interval of a gain (positive is better) allows one to say."""
    if gain.low > 0:
        return "better"
    return "worse" if gain.high < 0 else "inconclusive"


def _keyed(run: Iterable[Answer]) -> dict[Key, Answer]:
    seen: Counter[tuple[str, str, str]] = Counter()
    keyed: dict[Key, Answer] = {}
    for answer in sorted(run, key=lambda a: (a.task, a.filter, a.doc_id)):
        key = answer.task, answer.doc_hash, answer.filter
        keyed[*key, seen[key]] = answer
        seen[key] += 1
    return keyed


def _recovery(means: Array) -> Array:
    undefined = np.full(len(means), np.nan)
    return np.divide(means[:, 1], means[:, 0], out=undefined, where=means[:, 0] > 0)


def _reduction(means: Array) -> Array:
    recipe, original = means[:, 0] - means[:, 1], means[:, 0] - means[:, 2]
    ends = np.where(np.arange(len(means)) % 2 == 0, -np.inf, np.inf)
    return 1 - np.divide(recipe, original, out=ends, where=original > _NO_LOSS)
