"""Choosing across seeds: what each selector prefers, and that budget and balance hold whoever chooses."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from faq_pipeline.activations.sample_moments import Input, SampleMoments
from faq_pipeline.activations.trace_moments import TraceMoments
from faq_pipeline.calibration.selectors import SELECTORS, find_selector
from faq_pipeline.calibration.selectors.ordering import ordered
from faq_pipeline.calibration.selectors.protocol import Pool
from faq_pipeline.calibration.selectors.table import Table
from faq_pipeline.calibration.token_budget import BudgetItem, select
from faq_pipeline.errors import FaqError
from tests.calibration.test_select import pools


class Measured:
    """Activations with moments given by hand: of the traces, and of each sample by its first token."""

    def __init__(self, traces: list[float], samples: dict[int, list[float]], scratch: Path) -> None:
        self.inputs = (Input("layers.0", len(traces), 1),)
        self.traces = TraceMoments(torch.tensor(traces), self.inputs)
        self.scratch, self._samples = scratch, samples

    def of(self, samples: list[list[int]]) -> Any:
        for start in range(0, len(samples), 2):
            some = list(range(start, min(start + 2, len(samples))))
            tokens = torch.tensor([len(samples[i]) for i in some])
            squares = torch.tensor([self._samples[samples[i][0]] for i in some])
            yield SampleMoments(some, tokens, squares, self.inputs)


class Located:
    """Activations whose hidden states are given by hand, by a sample's first token."""

    def __init__(self, points: list[tuple[float, ...]]) -> None:
        self._points = points

    def hidden(self, samples: list[list[int]]) -> Any:
        for i in reversed(range(len(samples))):
            yield [i], torch.tensor([self._points[samples[i][0]]])


def taken(name: str, samples: list[list[int]], measured: Any = None) -> list[int]:
    """All samples in the order in which a selector takes them from one domain."""
    chooser = SELECTORS[name].start(Pool(samples, measured))
    left, order = list(range(len(samples))), []
    while left:
        order.append(chooser.best(left))
        chooser.take(order[-1])
        left.remove(order[-1])
    return order


def test_an_unknown_selection_is_named_with_the_near_one():
    with pytest.raises(FaqError) as error:
        find_selector("covrage")
    assert "did you mean 'coverage'" in str(error.value) and error.value.key == "calibration.selection"
    assert all(name in str(error.value) for name in ("draw", *SELECTORS))
    assert find_selector("draw") is None


ORDINARY = [1.0, 1.1, 0.9, 1.2, 0.8, 1.05, 0.95, 1.15]


def test_coverage_takes_what_covers_most_that_is_new(tmp_path: Path):
    traces = [*ORDINARY, 100.0, 100.0, 200.0]
    hot = {0: (100, 100, 0), 1: (100, 100, 0), 2: (0, 0, 200), 3: (0, 0, 0)}
    measured = Measured(traces, {i: [*ORDINARY, *map(float, m)] for i, m in hot.items()}, tmp_path)
    assert taken("coverage", [[i] * 10 for i in hot], measured) == [0, 2, 1, 3]


def test_coverage_counts_its_cost_in_tokens(tmp_path: Path):
    traces = [*ORDINARY, 100.0, 100.0]
    both, first = [*ORDINARY, 100.0, 100.0], [*ORDINARY, 100.0, 0.0]
    measured = Measured(traces, {0: both, 1: first}, tmp_path)
    assert taken("coverage", [[0] * 30, [1] * 10], measured) == [1, 0]
    assert taken("coverage", [[0] * 19, [1] * 10], measured) == [0, 1]


def test_coverage_without_outliers_keeps_the_draws_order(tmp_path: Path):
    measured = Measured(ORDINARY, dict.fromkeys(range(4), ORDINARY), tmp_path)
    assert taken("coverage", [[i] for i in range(4)], measured) == [0, 1, 2, 3]


def test_fidelity_takes_what_brings_the_whole_set_nearest(tmp_path: Path):
    """Neither of two opposite samples is near the traces, and together they are."""
    moments = {0: [3.0, 3.0], 1: [1.9, 0.1], 2: [0.1, 1.9], 3: [1.3, 1.3]}
    measured = Measured([1.0, 1.0], moments, tmp_path)
    assert taken("fidelity", [[i] * 10 for i in moments], measured)[:1] == [3]
    measured = Measured([1.0, 1.0], {0: [3.0, 3.0], 1: [1.9, 0.5], 2: [0.1, 1.5]}, tmp_path)
    assert taken("fidelity", [[i] * 10 for i in range(3)], measured) == [1, 2, 0]


@given(st.lists(st.tuples(st.integers(1, 30), st.floats(0.1, 9), st.floats(0.1, 9)), min_size=1, max_size=9))
def test_each_step_of_fidelity_is_the_best_there_is(tmp_path_factory, shapes):
    traces = [1.0, 2.0]
    samples = [[i] * n for i, (n, _, _) in enumerate(shapes)]
    given_moments = {i: [a, b] for i, (_, a, b) in enumerate(shapes)}
    measured = Measured(traces, given_moments, tmp_path_factory.getbasetemp())
    order = taken("fidelity", samples, measured)

    def mismatch(chosen: list[int]) -> float:
        tokens = np.array([len(samples[i]) for i in chosen], dtype=float)
        means = tokens @ np.array([given_moments[i] for i in chosen]) / tokens.sum()
        return float(np.mean(np.log(means / traces) ** 2))

    for step in range(len(order)):
        rest = [mismatch([*order[:step], i]) for i in range(len(samples)) if i not in order[:step]]
        assert mismatch(order[: step + 1]) <= min(rest) + 1e-5


def test_diversity_takes_what_says_most_that_is_new():
    assert taken("diversity", [[1, 1, 1, 1], [1, 2, 3, 4], [1, 2, 3, 4], [5, 6, 7, 8]]) == [1, 3, 2, 0]


def test_centroid_takes_the_typical_sample_of_each_cluster_in_turn():
    east, north = (
        [(1.0, 0.0, a) for a in (-0.3, 0.0, 0.1, 0.2)],
        [(0.0, 5.0, a) for a in (-2.0, 0.2, 0.4, 1.4)],
    )
    order = taken("centroid", [[i] for i in range(8)], Located([*east, *north]))
    for start in range(0, 8, 2):
        assert {sample // 4 for sample in order[start : start + 2]} == {0, 1}  # one of each cluster
    assert set(order[:2]) == {1, 5} and set(order[-2:]) == {0, 4}


@given(st.lists(st.tuples(*[st.floats(-1, 1, width=32)] * 3), min_size=1, max_size=80))
def test_centroid_takes_every_sample_once_and_repeats(points):
    samples = [[i] for i in range(len(points))]
    order = taken("centroid", samples, Located(points))
    assert sorted(order) == list(range(len(points)))
    assert taken("centroid", samples, Located(points)) == order


class Last:
    """Prefers what was drawn last."""

    def __init__(self) -> None:
        self.took: list[int] = []

    def best(self, options: list[int]) -> int:
        assert not set(options) & set(self.took)
        return max(options)

    def take(self, sample: int) -> None:
        self.took.append(sample)


@given(pools())
def test_budget_length_and_balance_hold_whoever_chooses(pool):
    pieces, budget, longest = pool
    chooser = Last()
    order = ordered(pieces, chooser, budget, longest)
    assert sorted(p.id for p in order) == sorted(p.id for p in pieces)
    assert [order.index(pieces[i]) for i in chooser.took] == list(range(len(chooser.took)))
    selection = select(order, budget, longest)
    assert selection.tokens <= budget
    counts = Counter(c.piece.domain for c in selection.chosen)
    if waiting := {p.domain for p in selection.unused}:
        most = max(counts.values(), default=0)
        assert all(counts[domain] >= most - 1 for domain in waiting)


@given(pools())
def test_a_chooser_that_takes_the_first_changes_nothing(pool):
    pieces, budget, longest = pool
    first = SimpleNamespace(best=lambda options: options[0], take=lambda sample: None)
    order = ordered(pieces, first, budget, longest)
    assert select(order, budget, longest).chosen == select(*pool).chosen


def test_domains_take_turns_in_the_order_of_their_first_piece():
    pieces = [BudgetItem(f"{d}{i}", d, 5, True) for i in range(3) for d in "ba"]
    order = ordered(pieces, Last(), 30, 5)
    assert [p.id for p in order] == ["b2", "a2", "b1", "a1", "b0", "a0"]
    assert [p.id for p in ordered(pieces, Last(), 12, 5)] == ["b2", "a2", "b1", "a1", "b0", "a0"]
    assert [p.id for p in ordered(pieces, Last(), 9, 5)] == ["b2", "a2", "b0", "a0", "b1", "a1"]


@given(st.permutations(range(7)))
def test_a_table_gives_back_what_was_written(tmp_path_factory, order):
    folder = tmp_path_factory.getbasetemp()
    table, values = Table(folder, 3), np.arange(21, dtype=np.float32).reshape(7, 3)
    before = set(folder.iterdir())
    for row in order:
        table.write([row], values[[row]])
    assert np.array_equal(table.read([5, 0, 5]), values[[5, 0, 5]])
    assert list(itertools.chain(*table.chunks(list(order)))) == list(order)
    assert set(folder.iterdir()) == before
