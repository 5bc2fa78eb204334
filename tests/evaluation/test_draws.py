"""Intervals over draws and questions."""

from __future__ import annotations

import numpy as np
import pytest

from faq_pipeline.evaluation.draws import crossed_estimate


def _arms(rng: np.random.Generator, draws: int, units: int, between: float) -> np.ndarray:
    """Scores with a spread between draws and one between questions; the true mean is 0."""
    by_draw = rng.normal(0, between, (draws, 1))
    by_unit = rng.normal(0, 0.3, (1, units))
    return by_draw + by_unit + rng.normal(0, 0.3, (draws, units))


def test_the_value_is_the_plain_weighted_mean() -> None:
    values, weights = np.array([[2.0, 6.0], [4.0, 8.0]]), np.array([1.0, 3.0])
    found = crossed_estimate({"a": (values, weights)}, lambda m: m["a"], resamples=200)
    assert found.value == pytest.approx((3 + 7) / 4)
    assert found.low <= found.value <= found.high


def _coverage(draws: int, between: float, questions: float, runs: int = 300) -> float:
    """How often the interval of a mean holds the truth, 0, in simulated studies."""
    rng = np.random.default_rng(draws)
    covered = 0
    for _ in range(runs):
        values = rng.normal(0, between, (draws, 1)) + rng.normal(0, questions, (1, 60))
        values += rng.normal(0, 0.05, (draws, 60))
        found = crossed_estimate({"a": (values, np.ones(60))}, lambda m: m["a"], resamples=400)
        covered += found.low <= 0 <= found.high
    return covered / runs


@pytest.mark.parametrize("draws", [3, 8, 12])
def test_few_draws_are_not_trusted_more_than_they_should_be(draws: int) -> None:
    """Without the correction: 0.75 at 3 draws, 0.84 at 8."""
    assert _coverage(draws, between=0.3, questions=0.1) >= 0.92


@pytest.mark.parametrize("draws", [3, 8, 12])
def test_the_correction_leaves_the_spread_over_questions_alone(draws: int) -> None:
    assert 0.92 <= _coverage(draws, between=0.0, questions=0.5) <= 0.98


def test_an_arm_of_one_row_has_no_draw_component() -> None:
    """Beside arms with draws it is as wide as alone, where nothing but questions is resampled."""
    rng = np.random.default_rng(9)
    arms = {"a": (_arms(rng, 3, 200, 0.5), np.ones(200)), "b": (_arms(rng, 1, 200, 0.5), np.ones(200))}
    beside = crossed_estimate(arms, lambda m: m["b"])
    alone = crossed_estimate({"b": arms["b"]}, lambda m: m["b"])
    assert beside.half_width == pytest.approx(alone.half_width, rel=0.1)


def test_questions_alone_would_be_too_sure_where_draws_differ() -> None:
    rng = np.random.default_rng(6)
    values = _arms(rng, 8, 2000, between=0.5)
    both = crossed_estimate({"a": (values, np.ones(2000))}, lambda m: m["a"], resamples=500)
    one = crossed_estimate({"a": (values[:1], np.ones(2000))}, lambda m: m["a"], resamples=500)
    assert both.half_width > 3 * one.half_width


def test_what_arms_share_cancels_in_their_difference() -> None:
    rng = np.random.default_rng(7)
    shared = _arms(rng, 8, 200, between=0.5)
    arms = {"a": (shared + 0.1, np.ones(200)), "b": (shared, np.ones(200))}
    found = crossed_estimate(arms, lambda m: m["a"] - m["b"], resamples=300)
    assert found.low == pytest.approx(0.1)
    assert found.high == pytest.approx(0.1)


def test_arms_over_other_units_are_refused() -> None:
    arms = {"a": (np.ones((2, 3)), np.ones(3)), "b": (np.ones((2, 4)), np.ones(4))}
    with pytest.raises(ValueError, match="share their units"):
        crossed_estimate(arms, lambda m: m["a"] - m["b"])
