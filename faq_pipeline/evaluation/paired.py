"""Paired statistics over questions that two or three models answered.

All intervals are 95% intervals from resampling *questions*. The scores of all models on a question are
drawn together, so variation common to the models cancels. If the models differ on fewer than about ten
questions, the interval is too narrow; use the exact McNemar test then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from faq_pipeline.errors import FaqError
from faq_pipeline.evaluation.bootstrap import Array, IntervalEstimate, bootstrap_estimate
from faq_pipeline.store.records import Answer

Verdict = Literal["better", "worse", "inconclusive"]
Key = tuple[str, str, str, int]

_NO_LOSS = 1e-12
"""Differences of means below this are rounding errors."""


@dataclass(frozen=True)
class PairedResult:
    """A quantized model against its reference.

    Attributes:
        questions: number of questions.
        reference, quantized: mean scores.
        recovery: quantized / reference; None if the reference answers nothing correctly.
        loss: reference - quantized.
        noise_floor: half-width of the interval of the loss; smaller losses are not significant.
        mcnemar_p: two-sided p-value of the exact McNemar test.
        verdict: the quantized model compared with the reference.
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
    """1 - loss(recipe) / loss(original), or the reason why it is not computed."""

    estimate: IntervalEstimate | None
    reason: str


def join(*runs: Sequence[Answer]) -> Array:
    """Scores of several models on the same questions: (questions, runs), in the order of the first run.

    Answers are joined on task, document hash and filter; repeated documents of a task, on their order.

    Raises:
        FaqError: the runs have different questions, or different prompts for a question.
    """
    keyed = [_keyed(run) for run in runs]
    for other in keyed[1:]:
        if keyed[0].keys() != other.keys():
            only, missing = len(other.keys() - keyed[0].keys()), len(keyed[0].keys() - other.keys())
            raise FaqError(
                f"these evaluations have different questions ({missing} missing, {only} additional)",
                hint="evaluate both under the same tasks and limit",
            )
        for key, answer in keyed[0].items():
            if other[key].prompt_hash != answer.prompt_hash:
                raise FaqError(
                    f"question {answer.doc_id} of {answer.task} was asked with different prompts",
                    hint="evaluate both with the same tokenizer, template and task",
                )
    if not keyed[0]:
        raise FaqError("this evaluation has no questions")
    return np.array([[run[key].correct for run in keyed] for key in keyed[0]], dtype=np.float64)


def accuracy(correct: Array) -> IntervalEstimate:
    """Mean score with its interval: Wilson's for scores of 0 and 1, otherwise bootstrap."""
    if not np.isin(correct, (0.0, 1.0)).all():
        return bootstrap_estimate(correct[:, None], lambda means: means[:, 0])
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(correct.sum(), len(correct), alpha=0.05, method="wilson")
    value = float(correct.mean())
    return IntervalEstimate(
        value, min(value, float(low)), max(value, float(high))
    )  # rounding may put Wilson's bounds on the wrong side of the value


def compare_paired(reference: Sequence[Answer], quantized: Sequence[Answer]) -> PairedResult:
    """All figures of a quantized model against its reference.

    Raises:
        FaqError: see `join`.
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
    """P-value of the exact two-sided McNemar test (a sign test if scores are fractions).

    Args:
        scores: (questions, 2).
    """
    from statsmodels.stats.contingency_tables import mcnemar

    lost = int((scores[:, 0] > scores[:, 1]).sum())
    won = int((scores[:, 0] < scores[:, 1]).sum())
    return min(1.0, float(mcnemar([[0, lost], [won, 0]], exact=True).pvalue))


def loss_reduction(
    reference: Sequence[Answer], quantized: Sequence[Answer], original: Sequence[Answer]
) -> LossReduction:
    """The loss reduction against the original data, by paired bootstrap over questions.

    In a resample in which the original loses nothing the ratio is undefined. Half of these count as
    minus infinity and half as plus infinity, which can only widen the interval.

    Raises:
        FaqError: see `join`.
    """
    scores = join(reference, quantized, original)
    lost = bootstrap_estimate(scores, lambda means: means[:, 0] - means[:, 2])
    if lost.value <= lost.half_width:
        return LossReduction(
            None,
            f"the baseline's loss {lost.value:.4f} is within the noise floor {lost.half_width:.4f}",
        )
    formed = bootstrap_estimate(scores, _reduction)
    if not np.isfinite([formed.low, formed.high]).all():
        return LossReduction(None, "the baseline's loss is too small for an interval")
    return LossReduction(formed, "")


def loss_difference(quantized: Sequence[Answer], baseline: Sequence[Answer]) -> IntervalEstimate:
    """loss(recipe) - loss(baseline), paired by question; the reference cancels.

    Raises:
        FaqError: see `join`.
    """
    return bootstrap_estimate(join(quantized, baseline), lambda means: means[:, 1] - means[:, 0])


def verdict(gain: IntervalEstimate) -> Verdict:
    """The conclusion that the interval of a gain (positive is better) supports."""
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
