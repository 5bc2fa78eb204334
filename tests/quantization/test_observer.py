"""How weight scales are found: real checkpoints, and the inequality that each search must keep."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.models.loading import load_model
from faq_pipeline.quantization.load import load_quantized
from faq_pipeline.quantization.stage import QUANTIZED_CHECKPOINT
from tests.quantization.conftest import Make, make_rows
from tests.quantization.test_stage import with_quantization

FIRST = "model.layers.0.self_attn.q_proj"
"""Its input does not depend on what was rounded before it."""


@pytest.fixture(scope="module")
def importance(tiny_cell: Cell) -> torch.Tensor:
    """Mean square of each input channel of `FIRST` on the calibration rows, shape (columns,)."""
    model = load_model(tiny_cell.target, "cpu")
    seen: list[torch.Tensor] = []
    hook = model.get_submodule(FIRST).register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0].float().flatten(0, -2))
    )
    with torch.no_grad():
        for row in make_rows():
            model(torch.tensor([row]))
    hook.remove()
    return torch.cat(seen).square().mean(0)


def rounding_error(folder: Path, cell: Cell, channels: torch.Tensor | float) -> float:
    """Sum of squared errors of `FIRST`, its input channels weighted."""
    quantized, original = load_quantized(folder, cell.target.member, "cpu"), load_model(cell.target, "cpu")
    weights = [model.get_submodule(FIRST).weight.detach().float() for model in (quantized, original)]
    error = weights[0] - weights[1]
    return float((error.square() * channels).sum())


@pytest.mark.parametrize("group", ["channel", 64])
def test_each_search_lowers_the_error_that_it_minimizes(
    group: object, make_checkpoint: Make, tiny_cell: Cell, importance: torch.Tensor
) -> None:
    made = {
        name: make_checkpoint("rtn", "W3A16", group, observer=name) for name in ("minmax", "mse", "imatrix")
    }
    plain = {name: rounding_error(folder, tiny_cell, 1.0) for name, folder in made.items()}
    weighted = {name: rounding_error(folder, tiny_cell, importance) for name, folder in made.items()}
    assert plain["mse"] < plain["minmax"]
    assert weighted["imatrix"] < weighted["minmax"]
    assert plain["imatrix"] != plain["mse"]


def test_it_is_a_fingerprint_input_where_it_is_not_the_default(tiny_cell: Cell) -> None:
    plain, searched = (with_quantization(tiny_cell, observer=name) for name in ("minmax", "mse"))
    assert QUANTIZED_CHECKPOINT.identity(plain) == QUANTIZED_CHECKPOINT.identity(tiny_cell)
    assert QUANTIZED_CHECKPOINT.identity(searched) != QUANTIZED_CHECKPOINT.identity(tiny_cell)


def test_rounding_with_imatrix_needs_a_calibration_set(tiny_cell: Cell, make_checkpoint: Make) -> None:
    select, inputs = QUANTIZED_CHECKPOINT.select, QUANTIZED_CHECKPOINT.inputs
    assert select is not None
    assert select(with_quantization(tiny_cell, method="rtn"), inputs) == ()
    assert select(with_quantization(tiny_cell, method="rtn", observer="imatrix"), inputs) == inputs[:1]
    with pytest.raises(FaqError, match="needs a calibration set"):
        make_checkpoint("rtn", observer="imatrix", rows=[])
