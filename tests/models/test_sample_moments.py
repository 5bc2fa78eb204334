"""Moments of many samples in one pass are those that a loop over samples and layers finds."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from faq_pipeline.activations.hidden_states import mean_hidden_states
from faq_pipeline.activations.sample_moments import sample_moments
from faq_pipeline.core.cell import Cell
from faq_pipeline.models.batches import by_length, padded
from faq_pipeline.models.loading import load_model


@pytest.fixture(scope="module")
def model(tiny_cell: Cell):
    return load_model(tiny_cell.target, "cpu", "float32")


def samples(count: int, longest: int = 90) -> list[list[int]]:
    drawn = random.Random(count)
    return [[drawn.randrange(300) for _ in range(drawn.randint(1, longest))] for _ in range(count)]


def one_at_a_time(model: torch.nn.Module, ids: list[int]) -> dict[str, torch.Tensor]:
    """Mean squares of every linear layer's inputs, in float64, of a sample alone."""
    found: dict[str, torch.Tensor] = {}
    handles = [
        module.register_forward_pre_hook(
            lambda _, args, name=name: found.update({name: args[0][0].double().square().mean(0)})
        )
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name != "lm_head"
    ]
    with torch.inference_mode():
        model(torch.tensor([ids]))
    for handle in handles:
        handle.remove()
    return found


def test_batched_means_of_hidden_states_are_those_of_samples_alone(model):
    given = samples(40)
    seen = set()
    for batch, means in mean_hidden_states(model, given, lambda done: None):
        for index, mean in zip(batch, means, strict=True):
            with torch.inference_mode():
                alone = model.base_model(torch.tensor([given[index]])).last_hidden_state[0].mean(0)
            torch.testing.assert_close(mean, alone, rtol=1e-4, atol=1e-5)
            seen.add(index)
    assert seen == set(range(40))


def test_batched_moments_are_those_of_samples_alone(model):
    """To one part in 10,000 in float32, padding and batch mates or not."""
    given = samples(40)
    seen = set()
    for batch in sample_moments(model, given, lambda done: None):
        for line, index in enumerate(batch.samples):
            alone = one_at_a_time(model, given[index])
            parts = batch.squares[line].split([one.channels for one in batch.inputs])
            for one, part in zip(batch.inputs, parts, strict=True):
                torch.testing.assert_close(part.double(), alone[one.name], rtol=1e-4, atol=1e-9)
            assert batch.tokens[line] == len(given[index])
            seen.add(index)
    assert seen == set(range(40))


def test_inputs_count_each_linear_layer_once(model):
    (batch,) = sample_moments(model, samples(2), lambda done: None)
    assert [(one.name.split(".")[-1], one.channels, one.readers) for one in batch.inputs] == [
        ("q_proj", 128, 3),
        ("o_proj", 128, 1),
        ("gate_proj", 128, 2),
        ("down_proj", 256, 1),
    ] * 2
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_progress_counts_samples_and_nothing_comes_of_none(model):
    done: list[int] = []
    assert len(list(sample_moments(model, samples(70), done.append))) == len(done) > 1
    assert sum(done) == 70
    assert list(sample_moments(model, [], done.append)) == []


def test_tokens_of_routed_experts_are_left_out(model):
    """A layer that is handed some of the tokens only cannot tell whose they are."""

    class Routed(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner, self.expert = inner, torch.nn.Linear(128, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.expert(x.reshape(-1, 128)[:3])
            return self.inner(x)

    block = model.model.layers[0]
    inner = block.mlp
    block.mlp = Routed(inner)
    try:
        (batch,) = sample_moments(model, samples(3), lambda done: None)
    finally:
        block.mlp = inner
    assert len(batch.inputs) == 8 and not any("expert" in one.name for one in batch.inputs)


@given(st.lists(st.integers(1, 50)), st.integers(1, 200))
def test_batches_hold_everything_once_by_length_and_keep_their_bound(lengths, most):
    batches = by_length(lengths, most)
    order = [index for batch in batches for index in batch]
    assert sorted(order) == list(range(len(lengths)))
    assert [lengths[i] for i in order] == sorted(lengths)
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= most


def test_padding_is_on_the_right():
    assert padded([[5, 6, 7], [8]], "cpu").tolist() == [[5, 6, 7], [8, 0, 0]]
