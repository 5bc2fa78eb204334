from __future__ import annotations

import pytest
import torch

from faq_pipeline.core.cell import Cell
from faq_pipeline.models.divergence import mean_divergences
from faq_pipeline.models.loading import load_model
from tests.models.test_sample_moments import samples


@pytest.fixture(scope="module")
def models(tiny_cell: Cell):
    other = load_model(tiny_cell.target, "cpu", "float32")
    with torch.no_grad():
        other.model.layers[1].mlp.down_proj.weight *= 1.5
    return load_model(tiny_cell.target, "cpu", "float32"), other


def test_divergences_are_those_of_samples_alone(models):
    """To one part in 200 (processors round): log_softmax over the vocabulary, position by position."""
    given = samples(30)
    found = mean_divergences(*models, given, lambda done: None)
    for ids, value in zip(given, found, strict=True):
        with torch.inference_mode():
            p, q = (m(torch.tensor([ids])).logits[0].double().log_softmax(-1) for m in models)
        assert value == pytest.approx(float((p.exp() * (p - q)).sum(-1).mean()), rel=5e-3)
        assert value > 0


def test_a_model_does_not_diverge_from_itself(models):
    done: list[int] = []
    assert mean_divergences(models[0], models[0], samples(5), done.append) == [0.0] * 5
    assert sum(done) == 5
