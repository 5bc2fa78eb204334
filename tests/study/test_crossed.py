"""Intervals, tests and power over draws and questions, against simulated studies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faq_pipeline.study.analysis.crossed import Crossed, Figure, ScoreSample

RUNS = 200


def sample(values: np.ndarray, units: str = "q") -> ScoreSample:
    return ScoreSample(values, np.ones(values.shape[1]), tuple(range(len(values))), units)


def difference(a: ScoreSample, b: ScoreSample, resamples: int = 400) -> Figure:
    figure = Crossed({"a": a, "b": b}, resamples=resamples).estimate(["a", "b"], lambda m: m["a"] - m["b"])
    assert figure is not None
    return figure


@dataclass(frozen=True)
class World:
    """How much a difference varies: between draws, between questions, and in both together."""

    draws: int
    by_draw: float
    by_question: float
    together: float

    def figures(self, effect: float = 0.0, questions: int = 150, seed: int = 1) -> list[Figure]:
        generator = np.random.default_rng(seed)
        found = []
        for _ in range(RUNS):
            shared = generator.normal(0, 1, (self.draws, questions))
            own = (
                effect
                + generator.normal(0, self.by_draw, (self.draws, 1))
                + generator.normal(0, self.by_question, (1, questions))
                + generator.normal(0, self.together, (self.draws, questions))
            )
            found.append(difference(sample(shared + own), sample(shared)))
        return found


WORLDS = [
    World(3, 0.3, 0.1, 0.05),
    World(8, 0.3, 0.1, 0.05),
    World(8, 0.0, 0.5, 0.05),
    World(8, 0.0, 0.0, 0.5),
    World(8, 0.1, 0.3, 0.3),
]


@pytest.mark.parametrize("world", WORLDS, ids=str)
def test_intervals_hold_the_truth_about_19_times_in_20(world: World) -> None:
    held = np.mean([figure.low <= 0 <= figure.high for figure in world.figures()])
    # Two to three standard errors of a share of 0.95 over so many runs.
    assert 0.90 <= held <= 0.99


@pytest.mark.parametrize("world", [WORLDS[3], WORLDS[4]], ids=str)
def test_the_standard_error_is_the_spread_over_studies(world: World) -> None:
    """Resampling draws and questions at once would put the first at 1.7 times the truth."""
    figures = world.figures()
    stated = np.sqrt(np.mean([figure.se**2 for figure in figures]))
    assert stated == pytest.approx(np.std([figure.value for figure in figures]), rel=0.15)


def test_an_effect_of_the_mde_is_found_in_four_of_five_studies() -> None:
    world = WORLDS[4]
    mde = float(np.sqrt(np.mean([figure.mde**2 for figure in world.figures()])))
    found = np.mean([figure.p < 0.05 for figure in world.figures(effect=mde, seed=2)])
    assert 0.70 <= found <= 0.90


def test_p_and_interval_agree() -> None:
    for figure in WORLDS[4].figures(effect=0.1):
        assert (figure.p < 0.05) == (figure.low > 0 or figure.high < 0)


def test_what_arms_share_cancels_in_their_difference() -> None:
    shared = np.random.default_rng(7).normal(0, 5, (8, 200))
    figure = difference(sample(shared + 0.1), sample(shared))
    assert (figure.low, figure.high) == (pytest.approx(0.1), pytest.approx(0.1))


@given(
    values=st.lists(st.lists(st.floats(-3, 3), min_size=4, max_size=4), min_size=2, max_size=5),
    weights=st.lists(st.floats(0.5, 9), min_size=4, max_size=4),
)
def test_the_value_is_the_weighted_mean(values: list[list[float]], weights: list[float]) -> None:
    one = ScoreSample(np.array(values), np.array(weights), tuple(range(len(values))), "q")
    figure = Crossed({"a": one}, resamples=20).estimate(["a"], lambda m: m["a"])
    assert figure is not None
    assert figure.value == pytest.approx(float(np.array(values).sum(axis=1).mean() / sum(weights)), abs=1e-9)
    assert figure.low <= figure.value <= figure.high


def test_logarithms_are_of_each_draw() -> None:
    values = np.array([[1.0, 3.0], [8.0, 24.0]])
    figure = Crossed({"a": sample(values)}, log=True, resamples=20).estimate(["a"], lambda m: m["a"])
    assert figure is not None
    assert np.exp(figure.value) == pytest.approx(np.sqrt(2 * 16))


def test_an_arm_without_draws_has_no_spread_over_them() -> None:
    generator = np.random.default_rng(9)
    with_draws = sample(generator.normal(0, 1, (4, 1)) + generator.normal(0, 1, (4, 300)))
    fixed = ScoreSample(generator.normal(0, 1, (1, 300)), np.ones(300), (), "q")
    crossed = Crossed({"a": with_draws, "b": fixed})
    beside = crossed.estimate(["b"], lambda m: m["b"])
    assert beside is not None and beside.draws == 0
    assert beside.se == pytest.approx(float(fixed.values.std() / np.sqrt(300)), rel=0.1)


def test_only_draws_that_all_have_count() -> None:
    values = np.arange(12.0).reshape(4, 3)
    a = ScoreSample(values, np.ones(3), (0, 1, 2, 3), "q")
    b = ScoreSample(values[:3] + 1, np.ones(3), (1, 2, 5), "q")
    figure = Crossed({"a": a, "b": b}, resamples=50).estimate(["a", "b"], lambda m: m["b"] - m["a"])
    assert figure is not None and figure.draws == 2
    assert figure.value == pytest.approx(float((values[:2] + 1).mean() - values[1:3].mean()))
    none = Crossed({"a": a, "b": ScoreSample(values[:1], np.ones(3), (9,), "q")}, resamples=50)
    assert none.estimate(["a", "b"], lambda m: m["a"] - m["b"]) is None


def test_without_units_there_is_no_figure() -> None:
    values = np.random.default_rng(5).normal(size=(3, 20))
    crossed = Crossed({"a": sample(values), "none": sample(np.empty((3, 0)), "p")}, log=True, resamples=20)
    assert crossed.estimate(["none"], lambda m: m["none"]) is None
    assert crossed.estimate(["a", "none"], lambda m: m["a"] - m["none"]) is None
    assert crossed.estimate(["a"], lambda m: m["a"]) is not None


def test_the_same_samples_give_the_same_figures_whatever_their_order() -> None:
    generator = np.random.default_rng(3)
    samples = {
        name: sample(generator.normal(0, 1, (4, 50)), units) for name, units in zip("abc", "qqp", strict=True)
    }
    turned = dict(reversed(samples.items()))
    figures = [
        Crossed(some, resamples=100).estimate("abc", lambda m: m["a"] + m["b"] - m["c"])
        for some in (samples, turned)
    ]
    assert figures[0] == figures[1]
