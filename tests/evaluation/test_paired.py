from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap

from faq_pipeline.errors import FaqError
from faq_pipeline.evaluation.bootstrap import IntervalEstimate, bootstrap_estimate, resampled_means
from faq_pipeline.evaluation.paired import (
    compare_paired,
    join,
    loss_difference,
    loss_reduction,
    verdict,
)
from tests.evaluation.answers import answers

scores = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=60)


def test_join_pairs_by_question_and_not_by_position() -> None:
    reference, quantized = answers([1, 0, 1]), answers([1, 1, 0])
    assert join(reference, quantized[::-1]).tolist() == [[1, 1], [0, 1], [1, 0]]


def test_join_tells_equal_documents_of_a_task_apart() -> None:
    twice = [replace(a, doc_hash="same", prompt_hash="same") for a in answers([1, 0])]
    assert join(twice, twice).tolist() == [[1, 1], [0, 0]]


@pytest.mark.parametrize(
    ("other", "problem"),
    [
        (answers([1, 1]), "different questions"),
        (answers([1, 1, 1], task="other"), "different questions"),
        (answers([1, 1, 1], prompt="q"), "different prompts"),
        ([replace(a, filter="flexible") for a in answers([1, 1, 1])], "different questions"),
    ],
)
def test_answers_that_are_not_to_the_same_questions_are_refused(other: list, problem: str) -> None:
    with pytest.raises(FaqError, match=problem):
        compare_paired(answers([1, 0, 1]), other)


def test_no_questions_are_refused() -> None:
    with pytest.raises(FaqError, match="no questions"):
        compare_paired([], [])


@given(scores)
@settings(max_examples=40)
def test_figures_hold_together(pairs: list[tuple[bool, bool]]) -> None:
    reference, quantized = ([float(p[i]) for p in pairs] for i in (0, 1))
    result = compare_paired(answers(reference), answers(quantized))
    assert result.loss.value == pytest.approx(np.mean(reference) - np.mean(quantized))
    assert result.loss.low - 1e-12 <= result.loss.value <= result.loss.high + 1e-12
    assert result.noise_floor == pytest.approx((result.loss.high - result.loss.low) / 2)
    assert 0 <= result.mcnemar_p <= 1
    assert (result.recovery is None) == (not any(reference))
    for own in (result.reference, result.quantized):
        assert 0 <= own.low <= own.value <= own.high <= 1


@given(scores, st.randoms(use_true_random=False))
@settings(max_examples=20)
def test_the_order_of_answers_does_not_matter(pairs: list, random: object) -> None:
    reference, quantized = answers([p[0] for p in pairs]), answers([p[1] for p in pairs])
    before = compare_paired(reference, quantized)
    random.shuffle(reference)  # type: ignore[attr-defined]
    assert compare_paired(reference, quantized) == before


@given(scores)
@settings(max_examples=20)
def test_a_model_against_itself_loses_nothing(pairs: list) -> None:
    same = answers([p[0] for p in pairs])
    result = compare_paired(same, same)
    assert (result.loss.value, result.noise_floor, result.mcnemar_p) == (0, 0, 1)
    assert result.verdict == "inconclusive"


@given(scores)
@settings(max_examples=20)
def test_swapping_the_models_turns_the_loss_round(pairs: list) -> None:
    a, b = answers([p[0] for p in pairs]), answers([p[1] for p in pairs])
    forth, back = loss_difference(a, b), loss_difference(b, a)
    assert forth.value == pytest.approx(-back.value)
    assert compare_paired(a, b).mcnemar_p == pytest.approx(compare_paired(b, a).mcnemar_p)


def test_mcnemar_is_the_exact_binomial_of_the_changed_answers() -> None:
    reference = [1] * 9 + [0] + [1] * 50
    quantized = [0] * 9 + [1] + [1] * 50
    assert compare_paired(answers(reference), answers(quantized)).mcnemar_p == pytest.approx(22 / 1024)


def test_resampling_agrees_with_scipy() -> None:
    draw = np.random.default_rng(5)
    values = draw.choice([0.0, 0.5, 1.0], size=(300, 2), p=[0.2, 0.2, 0.6])
    ours = bootstrap_estimate(values, lambda means: means[:, 0] - means[:, 1])
    theirs = bootstrap(
        (values[:, 0], values[:, 1]),
        lambda a, b, axis: a.mean(axis) - b.mean(axis),
        paired=True,
        vectorized=True,
        method="percentile",
        rng=draw,
    ).confidence_interval
    assert ours.low == pytest.approx(theirs.low, abs=0.006)
    assert ours.high == pytest.approx(theirs.high, abs=0.006)


def test_resampling_in_chunks_keeps_its_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faq_pipeline.evaluation.bootstrap._CELLS", 1000)
    means = resampled_means(np.arange(50.0)[:, None], 4000)
    assert means.shape == (4000, 1)
    assert means.mean() == pytest.approx(24.5, abs=0.2)
    assert means.std() == pytest.approx(np.arange(50).std() / 50**0.5, rel=0.05)


def _draw(rng: np.random.Generator, probabilities: dict[tuple[int, ...], float], n: int) -> list[list[int]]:
    patterns = np.array(list(probabilities))
    rows = patterns[rng.choice(len(patterns), size=n, p=list(probabilities.values()))]
    return [rows[:, i].tolist() for i in range(patterns.shape[1])]


def test_intervals_cover_the_truth_about_95_times_in_100() -> None:
    # Reference, recipe, original: true losses 0.04 and 0.12, recovery 0.86/0.90, reduction 2/3.
    world = {
        (1, 1, 1): 0.74,
        (1, 1, 0): 0.09,
        (1, 0, 1): 0.02,
        (1, 0, 0): 0.05,
        (0, 1, 1): 0.01,
        (0, 1, 0): 0.02,
        (0, 0, 1): 0.01,
        (0, 0, 0): 0.06,
    }
    truth = {"loss": 0.04, "recovery": 0.86 / 0.9, "reduction": 2 / 3}
    rng, rounds = np.random.default_rng(11), 150
    covered = dict.fromkeys(truth, 0)
    for _ in range(rounds):
        reference, recipe, original = (answers(run) for run in _draw(rng, world, 600))
        result = compare_paired(reference, recipe)
        reduction = loss_reduction(reference, recipe, original).estimate
        assert result.recovery is not None and reduction is not None
        found = {"loss": result.loss, "recovery": result.recovery, "reduction": reduction}
        for name, figure in found.items():
            covered[name] += figure.low <= truth[name] <= figure.high
    # Two standard errors of a share of 0.95 over 150 rounds are 0.036.
    assert all(0.914 <= count / rounds <= 0.986 for count in covered.values()), covered


def test_loss_reduction_is_one_less_the_ratio_of_losses() -> None:
    reference, recipe, original = [1] * 200, [1] * 190 + [0] * 10, [1] * 160 + [0] * 40
    formed = loss_reduction(answers(reference), answers(recipe), answers(original))
    assert formed.estimate is not None and formed.reason == ""
    assert formed.estimate.value == pytest.approx(0.75)
    assert 0.5 < formed.estimate.low < 0.75 < formed.estimate.high < 0.95


def test_loss_reduction_is_not_formed_within_the_noise_floor() -> None:
    reference, recipe = [1, 0] * 50, [1, 0] * 50
    original = [0, 1] * 5 + [1, 0] * 44 + [0, 0]
    formed = loss_reduction(answers(reference), answers(recipe), answers(original))
    assert formed.estimate is None
    assert "within the noise floor" in formed.reason


def test_a_loss_that_one_model_does_not_have_is_not_reduced() -> None:
    same = answers([1, 1, 0])
    assert loss_reduction(same, same, same).estimate is None


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [(0.01, 0.1, "better"), (-0.1, -0.01, "worse"), (-0.1, 0.1, "inconclusive"), (0.0, 0.1, "inconclusive")],
)
def test_a_verdict_needs_an_interval_without_zero(low: float, high: float, word: str) -> None:
    assert verdict(IntervalEstimate(0.0, low, high)) == word


def test_a_clear_loss_is_called_worse() -> None:
    result = compare_paired(answers([1] * 100), answers([1] * 80 + [0] * 20))
    assert result.verdict == "worse"
    assert result.recovery is not None and result.recovery.value == pytest.approx(0.8)
    assert result.recovery.high < 1
