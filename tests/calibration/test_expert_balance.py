"""Selection `expert_balance`: experts with little data get more of it, and other models are refused."""

from __future__ import annotations

import random
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from faq_pipeline.activations.routing import routed_tokens, sample_routing
from faq_pipeline.activations.trace_moments import trace_moments
from faq_pipeline.calibration.selectors.protocol import Activations
from faq_pipeline.calibration.stage import CALIBRATION_SET
from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.store.records import Trace
from tests.calibration.test_selectors import taken
from tests.calibration.test_stage import with_calibration
from tests.cases.architectures import FAMILIES

SAMPLES = 64


@pytest.fixture(scope="module")
def mixture() -> PreTrainedModel:
    """Its router sends tokens of low ids elsewhere than those of high ids."""
    torch.manual_seed(0)
    return FAMILIES["Qwen3-MoE"].build().eval()


@pytest.fixture(scope="module")
def samples() -> list[list[int]]:
    """Few of them are of the tokens that the others do not have."""
    drawn = random.Random(1)
    return [
        [drawn.randrange(*((40, 80) if i % 8 == 7 else (0, 8))) for _ in range(drawn.randrange(4, 24))]
        for i in range(SAMPLES)
    ]


def counts_of(model: PreTrainedModel, samples: list[list[int]]) -> np.ndarray:
    return np.array([own.numpy() for own in sample_routing(model, samples, lambda done: None)])


def activations(model: PreTrainedModel, samples: list[list[int]], scratch: Path) -> Activations:
    traces = trace_moments(model, [Trace("t", "a", ids, 1) for ids in samples[:4]], lambda done: None)
    return Activations(model, traces, scratch, lambda done: None)


def test_counts_of_samples_add_up_to_those_of_all(mixture: PreTrainedModel, samples: list[list[int]]) -> None:
    with routed_tokens(mixture) as counts:
        for ids in samples:
            mixture.base_model(torch.tensor([ids]))
    assert counts_of(mixture, samples).sum(0).tolist() == torch.cat(list(counts.values())).tolist()


@pytest.mark.parametrize("share", [0.1, 0.2, 0.4])
def test_the_expert_with_the_fewest_tokens_gets_more_than_in_the_draws_order(
    mixture: PreTrainedModel, samples: list[list[int]], tmp_path: Path, share: float
) -> None:
    counts, lengths = counts_of(mixture, samples), [len(ids) for ids in samples]
    budget = share * sum(lengths)

    def seen(order: list[int]) -> np.ndarray:
        spent = accumulate(lengths[i] for i in order)
        return counts[[i for i, tokens in zip(order, spent, strict=True) if tokens <= budget]].sum(0)

    balanced = seen(taken("expert_balance", samples, activations(mixture, samples, tmp_path)))
    drawn = seen(list(range(SAMPLES)))
    assert balanced.min() > drawn.min()
    assert np.log1p(balanced).sum() > np.log1p(drawn).sum()


def test_a_target_without_experts_is_refused_before_work(tiny_cell: Cell) -> None:
    cell = with_calibration(tiny_cell, selection="expert_balance")
    with pytest.raises(FaqError, match="has no routed experts") as caught:
        CALIBRATION_SET.preflight_missing(cell)
    assert caught.value.hint and caught.value.key == "calibration.selection"
