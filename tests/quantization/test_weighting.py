"""Weights in GPTQ's Hessian, against Hessians computed by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from faq_pipeline.activations.attention import received_attention
from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.models.loading import load_model
from faq_pipeline.quantization.methods.weighted_gptq import WeightedGPTQModifier
from faq_pipeline.quantization.oneshot import run
from faq_pipeline.quantization.spec_check import check_spec
from faq_pipeline.quantization.token_weights import MOST, by_importance, row_weights
from faq_pipeline.util.progress import SilentProgress
from tests.quantization.conftest import make_rows, make_spec

ROWS = [row[:length] for row, length in zip(make_rows(3, 24), (20, 24, 12), strict=True)]
SAMPLES = [[4, 16], [24], [7, 2, 3]]
BY_LENGTH = (1, 0, 2)
"""In which order llmcompressor takes the rows."""
LAYER = "model.layers.0.mlp.gate_proj"


def weights_of(cell: Cell, **fields: Any) -> list[torch.Tensor]:
    spec = make_spec("gptq", "W3A16", **fields)
    return row_weights(spec, cell.target, ROWS, SAMPLES, "cpu", SilentProgress())


@dataclass
class Seen:
    """What a run shows of each module: its inputs, row by row, and the Hessian it is quantized with."""

    inputs: dict[str, list[torch.Tensor]] = field(default_factory=dict)
    hessians: dict[str, torch.Tensor] = field(default_factory=dict)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    found = Seen()
    calibrate, compress = WeightedGPTQModifier.calibrate_module, WeightedGPTQModifier.compress_module_list

    def calibrating(self: WeightedGPTQModifier, module: Any, args: Any, output: Any) -> None:
        found.inputs.setdefault(self._module_names[module], []).append(args[0][0].double())
        calibrate(self, module, args, output)

    def compressing(self: WeightedGPTQModifier, modules: list[torch.nn.Module]) -> None:
        for module in modules:
            hessian = self._hessians[module] / self._num_samples[module]
            found.hessians[self._module_names[module]] = hessian
        compress(self, modules)

    monkeypatch.setattr(WeightedGPTQModifier, "calibrate_module", calibrating)
    monkeypatch.setattr(WeightedGPTQModifier, "compress_module_list", compressing)
    return found


@pytest.mark.parametrize(
    "fields",
    [
        {"sample_weights": "equal_sequences"},
        {"token_weights": "attention"},
        {"sample_weights": "equal_sequences", "token_weights": "attention"},
    ],
)
def test_the_hessian_is_the_weighted_sum_over_tokens(
    fields: dict[str, str], seen: Seen, tiny_cell: Cell
) -> None:
    run(make_spec("gptq", "W3A16", **fields), tiny_cell.target, ROWS, "cpu", SilentProgress(), SAMPLES)
    weights = weights_of(tiny_cell, **fields)
    assert len(seen.hessians) == 14
    for name, hessian in seen.hessians.items():
        layer = int(name.split(".")[2]) if len(weights[0]) > 1 else 0
        terms = [
            2 * (weights[row][layer].double()[:, None] * x).T @ x
            for row, x in zip(BY_LENGTH, seen.inputs[name], strict=True)
        ]
        byhand = sum(terms) / len(ROWS)
        torch.testing.assert_close(hessian.double(), byhand, rtol=1e-4, atol=1e-4 * float(byhand.max()))


def test_equal_sequences_weigh_the_same_whatever_their_length(tiny_cell: Cell) -> None:
    weights = weights_of(tiny_cell, sample_weights="equal_sequences")
    sums = [
        part.sum() for own, lengths in zip(weights, SAMPLES, strict=True) for part in own[0].split(lengths)
    ]
    assert [float(s) for s in sums] == pytest.approx([56 / 6] * 6)
    assert weights[0][0, :4].tolist() == pytest.approx([56 / 6 / 4] * 4)


def test_a_row_without_samples_is_one_sequence(seen: Seen, tiny_cell: Cell) -> None:
    spec = make_spec("gptq", sample_weights="equal_sequences")
    run(spec, tiny_cell.target, ROWS, "cpu", SilentProgress())
    whole = seen.hessians[LAYER]
    run(spec, tiny_cell.target, ROWS, "cpu", SilentProgress(), [[20], [24], [12]])
    assert torch.equal(whole, seen.hessians[LAYER])


def test_token_weights_rise_with_the_attention_that_the_layer_pays(tiny_cell: Cell) -> None:
    weights = weights_of(tiny_cell, token_weights="attention")
    model = load_model(tiny_cell.target, "cpu")
    for own, received, lengths in zip(
        weights, received_attention(model, ROWS, lambda done: None), SAMPLES, strict=True
    ):
        assert own.shape == received.shape == (2, sum(lengths))
        for layer in range(2):
            for part, got in zip(own[layer].split(lengths), received[layer].split(lengths), strict=True):
                assert float(part.mean()) == pytest.approx(1)
                assert float(part.max() / part.min()) == pytest.approx(MOST, rel=1e-4)
                assert part.argsort().tolist() == got.argsort().tolist()


@given(st.lists(st.floats(0, 100), min_size=1, max_size=20))
def test_importance_has_mean_one_and_a_bounded_range(received: list[float]) -> None:
    weights = by_importance(torch.tensor([received]))
    assert float(weights.mean()) == pytest.approx(1, rel=1e-5)
    assert 1 - 1e-5 <= float(weights.max() / weights.min()) <= MOST + 1e-4
    assert torch.isfinite(weights).all()


def test_equal_weights_change_no_weight_of_the_model(tiny_cell: Cell) -> None:
    """Samples of one length are equal already, so that the same integers come out."""
    plain, equal = (
        run(make_spec("gptq", **fields), tiny_cell.target, make_rows(3, 24), "cpu", SilentProgress()).model
        for fields in ({}, {"sample_weights": "equal_sequences"})
    )
    for name, weight in plain.named_parameters():
        assert torch.equal(weight, equal.get_parameter(name)), name


def test_smoothquant_weighs_its_gptq_too(seen: Seen, tiny_cell: Cell) -> None:
    spec = make_spec("smoothquant", "W8A8", sample_weights="equal_sequences")
    run(spec, tiny_cell.target, ROWS, "cpu", SilentProgress(), SAMPLES)
    assert len(seen.hessians) == 14


def test_a_module_that_sees_other_tokens_than_the_rows_is_refused(
    tiny_cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec("gptq", sample_weights="equal_sequences")
    monkeypatch.setattr(
        "faq_pipeline.quantization.oneshot.row_weights",
        lambda *_: [torch.ones(1, len(row) - 1) for row in ROWS],
    )
    with pytest.raises(FaqError, match="sees 24 of a row's 23 tokens"):
        run(spec, tiny_cell.target, ROWS, "cpu", SilentProgress(), SAMPLES)


@pytest.mark.parametrize("method", ["rtn", "awq"])
@pytest.mark.parametrize("fields", [{"sample_weights": "equal_sequences"}, {"token_weights": "attention"}])
def test_methods_without_a_hessian_refuse_weights(
    method: str, fields: dict[str, str], tiny_cell: Cell
) -> None:
    (name,) = fields
    with pytest.raises(FaqError, match=f"method '{method}' has no {name}") as error:
        check_spec(make_spec(method, **fields), tiny_cell.target)
    assert "gptq or smoothquant" in str(error.value) and error.value.key == f"quantization.{name}"


def test_a_weighted_checkpoint_loads(tiny_cell: Cell, tmp_path: Path) -> None:
    from faq_pipeline.quantization.load import load_quantized
    from faq_pipeline.quantization.oneshot import quantize

    spec = make_spec("gptq", "W3A16", token_weights="attention")
    log = quantize(spec, tiny_cell.target, ROWS, tmp_path, "cpu", SilentProgress(), SAMPLES)
    assert not log.fallback
    model = load_quantized(tmp_path, tiny_cell.target.member, "cpu")
    with torch.no_grad():
        assert math.isfinite(float(model(torch.tensor(ROWS[:1])).logits.sum()))
