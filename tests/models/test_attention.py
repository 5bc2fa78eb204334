from __future__ import annotations

import pytest
import torch

from faq_pipeline.activations.attention import received_attention
from faq_pipeline.core.cell import Cell
from faq_pipeline.models.loading import load_model
from tests.models.test_sample_moments import samples


@pytest.fixture
def model(tiny_cell: Cell):
    return load_model(tiny_cell.target, "cpu", "float32")


def test_attention_is_that_of_the_models_own_maps(model, tiny_cell: Cell):
    other = load_model(tiny_cell.target, "cpu", "float32")
    other.set_attn_implementation("eager")
    rows = samples(3)
    done: list[int] = []
    received = list(received_attention(model, rows, done.append))
    assert sum(done) == 3
    for row, found in zip(rows, received, strict=True):
        with torch.inference_mode():
            maps = other(torch.tensor([row]), output_attentions=True).attentions
        assert found.shape == (2, len(row))
        for layer, each in enumerate(maps):
            torch.testing.assert_close(found[layer], each[0].sum(dim=(0, 1)))
        # Every query of each of the two heads gives away one unit.
        torch.testing.assert_close(found.sum(1), torch.full((2,), 2.0 * len(row)), rtol=1e-4, atol=0)
    assert not any(module._forward_hooks for module in model.modules())


def test_layers_without_a_map_give_zeros(model):
    layer = model.model.layers[1].self_attn
    handle = layer.register_forward_hook(lambda module, args, output: (output[0], None))
    (received,) = received_attention(model, samples(1), lambda done: None)
    handle.remove()
    assert received[0].sum() > 0 and received[1].sum() == 0
