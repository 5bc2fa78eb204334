"""The sentence on what regeneration gained, where it cannot be told."""

from __future__ import annotations

import re
from unittest.mock import MagicMock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faq_pipeline.core.cell import Cell
from faq_pipeline.evaluation.bootstrap import IntervalEstimate
from faq_pipeline.reporting.outcome import described_change, outcome
from faq_pipeline.settings import Settings


def test_a_baseline_that_is_gone_is_named(tiny_cell: Cell) -> None:
    recipe = tiny_cell.recipe.model_copy(update={"baselines": ["tiny-raw", "tiny-gone"]})
    cells = [tiny_cell.with_recipe(tiny_cell.recipe.model_copy(update={"name": "tiny-raw"}))]
    for tasks in ([], recipe.evaluation.tasks):
        evaluation = recipe.evaluation.model_copy(update={"tasks": tasks, "gate": None})
        own = tiny_cell.with_recipe(recipe.model_copy(update={"evaluation": evaluation}))
        told = outcome(Settings.from_environment(), [*cells, own], evaluated=True)
        assert told == "What regeneration gained cannot be told: baseline tiny-gone is not here any more."


def test_data_that_was_not_regenerated_is_named(tiny_cell: Cell) -> None:
    for source, what in (("original", "the seeds as they are"), ("random", "random tokens")):
        regeneration = tiny_cell.recipe.regeneration.model_copy(update={"source": source})
        cell = tiny_cell.with_recipe(tiny_cell.recipe.model_copy(update={"regeneration": regeneration}))
        assert what in outcome(Settings.from_environment(), [cell], evaluated=True)


def test_the_figure_and_the_verdict_are_of_one_baseline(
    tiny_cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interval of the other baseline would contradict "cannot be told"."""
    cells = [
        tiny_cell.with_recipe(tiny_cell.recipe.model_copy(update=update))
        for update in ({"name": "raw"}, {"name": "chat"}, {"baselines": ["raw", "chat"]})
    ]
    raw = {"value": -0.01, "low": -0.03, "high": 0.01}
    chat = {"value": -0.009, "low": -0.017, "high": -0.001}
    against = [
        {"baseline": "raw", "difference": raw, "verdict": "inconclusive"},
        {"baseline": "chat", "difference": chat, "verdict": "better"},
    ]
    row = {"recipe": cells[-1].recipe.name, "against": against, "verdict": "inconclusive", "questions": 400}
    monkeypatch.setattr("faq_pipeline.reporting.outcome.compare_member", MagicMock())
    monkeypatch.setattr("faq_pipeline.reporting.outcome.read_comparison", lambda *_: {"recipes": [row]})
    told = outcome(Settings.from_environment(), cells, evaluated=True)
    assert "cannot be told from 400 questions: +1.0 points of accuracy [-1.0, 3.0]" in told


def test_a_lower_divergence_is_lower_than_that_of_either_baseline(
    tiny_cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluation = tiny_cell.recipe.evaluation.model_copy(update={"tasks": []})
    update = {"evaluation": evaluation, "baselines": [tiny_cell.recipe.name]}
    cells = [tiny_cell.with_recipe(tiny_cell.recipe.model_copy(update=update))] * 3
    changes = iter([IntervalEstimate(0.2, 0.1, 0.3), IntervalEstimate(0.3, -0.1, 0.5)] * 2)
    for name, fake in {"_report": 1, "_unequal": ""}.items():
        monkeypatch.setattr(f"faq_pipeline.reporting.outcome.{name}", lambda *_, fake=fake: fake)
    monkeypatch.setattr("faq_pipeline.reporting.outcome.divergence_change", lambda *_: next(changes))
    told = outcome(Settings.from_environment(), cells, evaluated=True)
    assert "helped cannot be told" in told and "-30% [-50, 10]" in told


@pytest.mark.parametrize(
    ("reduction", "told"),
    [
        ((0.21, 0.06, 0.35), "lower (-21% [-35, -6])"),
        ((0.02, 0.004, 0.04), "lower (-2.0% [-4.0, -0.4])"),
        ((-0.01, -0.02, -0.0004), "higher (+1.00% [0.04, 2.00])"),
        ((0.05, -0.003, 0.1), "not clearly different (-5.0% [-10.0, 0.3])"),
        ((0.05, 0.0, 0.1), "not clearly different (-5% [-10, 0])"),
    ],
)
def test_a_change_is_told_with_as_many_digits_as_its_bounds_need(
    reduction: tuple[float, float, float], told: str
) -> None:
    assert described_change(IntervalEstimate(*reduction)) == told


LEAST = 1e-5
"""Of a bound that is not 0: a change of 0.001%, the least that is shown."""


@given(
    st.lists(
        st.one_of(st.just(0.0), st.floats(LEAST, 1), st.floats(-0.05, -LEAST), st.floats(-9, -LEAST)),
        min_size=3,
        max_size=3,
    ).map(sorted)
)
def test_no_bound_that_is_not_zero_is_shown_as_zero(bounds: list[float]) -> None:
    low, value, high = bounds
    told = described_change(IntervalEstimate(value, low, high))
    shown = re.fullmatch(r"([a-z ]+) \(\S+% \[(\S+), (\S+)\]\)", told)
    assert shown, told
    for bound, figure in ((-high, float(shown[2])), (-low, float(shown[3]))):
        assert (figure > 0, figure < 0) == (bound > 0, bound < 0), told
    assert shown[1] == ("lower" if low > 0 else "higher" if high < 0 else "not clearly different")
