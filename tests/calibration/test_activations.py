"""What the target's traces do to its layers, and which of its channels stick out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from faq_pipeline.activations.fitness import fitness, mismatches
from faq_pipeline.activations.moments import input_moments
from faq_pipeline.activations.outliers import find_outliers
from faq_pipeline.activations.sample_moments import Input, sample_moments
from faq_pipeline.activations.trace_moments import TraceMoments, trace_moments
from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.models.loading import load_model
from faq_pipeline.store.records import Trace
from tests.models.test_sample_moments import samples


@pytest.fixture(scope="module")
def model(tiny_cell: Cell):
    return load_model(tiny_cell.target, "cpu", "float32")


def traces(count: int) -> list[Trace]:
    return [Trace(f"t{i}", "a", ids, 1) for i, ids in enumerate(samples(count))]


def moments(*means: list[float], readers: tuple[int, ...] = ()) -> TraceMoments:
    inputs = tuple(
        Input(f"layers.{i}", len(part), readers[i] if readers else 1) for i, part in enumerate(means)
    )
    return TraceMoments(torch.tensor([m for part in means for m in part]), inputs)


def test_the_mismatch_of_a_sample_is_the_fitness_of_the_set_that_it_would_be(model):
    reference = [trace.input_ids for trace in traces(9)]
    theirs = input_moments(model, reference, lambda done: None)
    found = trace_moments(model, traces(9), lambda done: None)
    for batch in sample_moments(model, samples(5), lambda done: None):
        for index, value in zip(batch.samples, found.mismatch(batch.squares).tolist(), strict=True):
            alone = input_moments(model, [samples(5)[index]], lambda done: None)
            assert value == pytest.approx(fitness(mismatches(alone, theirs)), rel=1e-3)


def test_traces_without_tokens_are_an_error(model):
    with pytest.raises(FaqError, match="no inference traces"):
        trace_moments(model, [Trace("t", "a", [], 0)], lambda done: None)


def test_an_input_counts_once_for_each_of_its_readers():
    found = moments([1.0, 1.0], [1.0, 1.0, 1.0, 1.0], readers=(3, 1))
    assert found.shares.tolist() == pytest.approx([3 / 8] * 2 + [1 / 16] * 4)
    doubled = torch.tensor([[2.0, 2.0, 1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 2.0, 2.0, 2.0, 2.0]])
    assert found.mismatch(doubled).tolist() == pytest.approx([3 / 4 * 0.48045, 1 / 4 * 0.48045], rel=1e-3)


def test_silent_inputs_are_finite():
    found = moments([0.0, 0.0], [1.0, 2.0])
    assert found.mismatch(found.means.unsqueeze(0)).tolist() == [0.0]


@given(st.integers(1, 40))
def test_thinned_moments_hold_so_many_channels_of_each_input(most):
    found = moments(list(range(1, 31)), [1.0, 2.0], readers=(2, 1))
    channels, thin = found.thinned(most)
    assert [one.channels for one in thin.inputs] == [min(most, 30), min(most, 2)]
    assert thin.means.tolist() == found.means[channels].tolist()
    assert len(set(channels.tolist())) == len(channels)
    assert float(thin.shares.sum()) == pytest.approx(1)


ORDINARY = [1.0, 1.1, 0.9, 1.2, 0.8, 1.05, 0.95, 1.15]


def test_outliers_are_far_above_the_median_of_their_own_input():
    found = find_outliers(moments([*ORDINARY, 50.0], [100 * m for m in ORDINARY]))
    assert found.channels.tolist() == [8]
    assert found.thresholds.tolist() == [50.0]
    assert find_outliers(moments(ORDINARY)).channels.tolist() == []
    assert find_outliers(moments([1.0] * 8)).channels.tolist() == []
    assert find_outliers(moments([0.0] * 8)).channels.tolist() == []


def test_outliers_weigh_their_height_times_their_readers():
    found = find_outliers(moments([*ORDINARY, 1.05 * 10], [*ORDINARY, 1.05 * 100], readers=(2, 1)))
    assert found.channels.tolist() == [8, 17]
    assert found.weights.tolist() == pytest.approx([0.5, 0.5], rel=1e-3)


def test_a_sample_covers_the_outliers_that_it_excites_as_the_traces_do():
    found = find_outliers(moments([*ORDINARY, 50.0, 500.0]))
    quiet, one, both = (torch.tensor([*ORDINARY, a, b]) for a, b in ((49, 499), (51, 4), (60, 500)))
    coverage = found.coverage(torch.stack([quiet, one, both])).tolist()
    assert coverage[0] == 0 and 0 < coverage[1] < 0.5 and coverage[2] == pytest.approx(1)


def test_without_outliers_nobody_covers_any():
    assert find_outliers(moments(ORDINARY)).coverage(torch.tensor([ORDINARY])).tolist() == [0.0]
