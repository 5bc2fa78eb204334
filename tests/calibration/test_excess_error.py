"""Excess error: GPTQ's output error on the target's inputs, predicted from Hessians alone."""

from __future__ import annotations

import pytest
import torch

from faq_pipeline.activations.excess_error import (
    DAMPENING,
    excess_error,
    excess_errors,
    expected_error,
    mean_excess,
)
from faq_pipeline.activations.input_hessians import InputHessian, input_hessians
from faq_pipeline.core.cell import Cell
from faq_pipeline.models.loading import load_model

CHANNELS = 24


def inputs(seed: int, tokens: int = 4000) -> torch.Tensor:
    """Correlated channels of unequal size, shape (tokens, channels); their mixture is that of `seed`."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(CHANNELS, CHANNELS, generator=generator, dtype=torch.float64)
    scale = torch.logspace(0, -1, CHANNELS, dtype=torch.float64)
    return torch.randn(tokens, CHANNELS, generator=generator, dtype=torch.float64) @ (mix * scale)


def hessian(x: torch.Tensor) -> torch.Tensor:
    return x.T @ x / len(x)


def gptq_error(weight: torch.Tensor, step: float, calibration: torch.Tensor, own: torch.Tensor) -> float:
    """Squared output error on inputs of Hessian `own`, of a weight rounded column by column with GPTQ."""
    order = calibration.diagonal().argsort(descending=True, stable=True)
    h = calibration[order][:, order].clone()
    h.diagonal().add_(DAMPENING * h.diagonal().mean())
    upper = torch.linalg.cholesky(torch.linalg.inv(h), upper=True)
    left, rounded = weight[:, order].clone(), torch.empty_like(weight)
    for i in range(CHANNELS):
        rounded[:, i] = (left[:, i] / step).round() * step
        error = (left[:, i] - rounded[:, i]) / upper[i, i]
        left -= error.unsqueeze(1) * upper[i]
    error = weight[:, order] - rounded
    return float(((error @ own[order][:, order]) * error).sum())


@pytest.mark.parametrize("calibration", [hessian(inputs(0)), hessian(inputs(1)), hessian(inputs(0, 30))])
def test_the_error_of_real_rounding_is_predicted(calibration: torch.Tensor) -> None:
    own, step = hessian(inputs(0)), 0.1
    weight = torch.randn(2000, CHANNELS, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    predicted = float(expected_error(calibration, own)) * len(weight) * step**2 / 12
    assert gptq_error(weight, step, calibration, own) == pytest.approx(predicted, rel=0.05)


def test_other_text_and_few_tokens_have_more_of_it() -> None:
    own = hessian(inputs(0))
    assert excess_error(own, own) == 0
    much, little = excess_error(hessian(inputs(0)[:2000]), own), excess_error(hessian(inputs(0)[:30]), own)
    assert much < little < excess_error(hessian(inputs(1)), own)
    assert much == pytest.approx(0, abs=0.02)


def test_hessians_are_products_of_what_goes_in_and_some_channels_are_a_part_of_them(tiny_cell: Cell) -> None:
    model = load_model(tiny_cell.target, "cpu")
    rows = [[(7 * i) % 300 for i in range(n)] for n in (5, 9)]
    seen: list[torch.Tensor] = []
    name = "model.layers.1.mlp.down_proj"
    handle = model.get_submodule(name).register_forward_pre_hook(lambda _, args: seen.append(args[0][0]))
    found = {one.readers[0]: one for one in input_hessians(model, rows, lambda n: None)}
    handle.remove()
    x = torch.cat(seen).float()
    assert found[name].tokens == len(x) == 14
    torch.testing.assert_close(found[name].mean, x.T @ x / 14, rtol=1e-4, atol=1e-6)
    assert [len(one.readers) for one in found.values()][:4] == [
        3,
        1,
        2,
        1,
    ]  # q, k and v share one, gate and up
    assert not any(m._forward_pre_hooks for m in model.modules())

    few = {one.readers[0]: one for one in input_hessians(model, rows, lambda n: None, channels=8)}
    kept = few[name].channels
    assert len(kept) == 8
    torch.testing.assert_close(few[name].mean, found[name].mean[kept][:, kept])


def test_layers_that_share_an_input_count_once_each_and_idle_ones_not_at_all() -> None:
    def one(name: str, h: torch.Tensor, readers: int = 1) -> InputHessian:
        return InputHessian(h, torch.arange(len(h)), [name, *(f"{name}{i}" for i in range(1, readers))], 1)

    own, other, idle = hessian(inputs(0)), hessian(inputs(1)), torch.zeros(CHANNELS, CHANNELS)
    rows = excess_errors([one("a", other, 3), one("b", own), one("c", idle)], [one(n, own) for n in "abc"])
    assert [(row.module, row.readers) for row in rows] == [("a", 3), ("b", 1)]
    assert mean_excess(rows) == pytest.approx(0.75 * excess_error(other, own))
    assert mean_excess([]) is None
