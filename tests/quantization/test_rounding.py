"""A copy rounded in memory is what method `rtn` writes to disk, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.models.loading import load_model
from faq_pipeline.quantization.load import load_quantized
from faq_pipeline.quantization.oneshot import quantize
from faq_pipeline.quantization.rounding import rounded_copy
from faq_pipeline.util.progress import SilentProgress
from tests.quantization.conftest import make_spec


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
@pytest.mark.parametrize(
    ("scheme", "group", "ignore"),
    [
        ("W3A16", "channel", ["lm_head"]),
        ("W2A16", 32, ["lm_head"]),
        ("W4A16_ASYM", 64, ["lm_head"]),
        ("W8A8", "channel", ["lm_head", "re:.*down_proj"]),
    ],
)
def test_a_rounded_copy_holds_the_weights_of_a_checkpoint(
    scheme: str, group: object, ignore: list[str], precision: str, tiny_cell: Cell, tmp_path: Path
) -> None:
    spec = make_spec("rtn", scheme, group, ignore=ignore)
    quantize(spec, tiny_cell.target, [], tmp_path, "cpu", SilentProgress())
    checkpoint = load_quantized(tmp_path, tiny_cell.target.member, "cpu")
    model = load_model(tiny_cell.target, "cpu", precision)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    copy = rounded_copy(model, spec)
    changed = set()
    for name, weight in copy.named_parameters():
        assert torch.equal(weight, checkpoint.get_parameter(name).to(weight.dtype)), name
        if not torch.equal(weight, before[name]):
            changed.add(name.split(".")[-2])
    assert changed == {f"{part}_proj" for part in ("q", "k", "v", "o", "gate", "up", "down")} - (
        {"down_proj"} if len(ignore) > 1 else set()
    )
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())


def test_what_is_not_rounded_is_shared(tiny_cell: Cell) -> None:
    model = load_model(tiny_cell.target, "cpu")
    copy = rounded_copy(model, make_spec("gptq", "W4A16"))
    shared = {id(weight) for weight in model.parameters()} & {id(weight) for weight in copy.parameters()}
    assert len(shared) == len(list(model.parameters())) - 14
    assert copy.get_input_embeddings().weight is copy.get_output_embeddings().weight


def test_an_unknown_scheme_is_refused(tiny_cell: Cell) -> None:
    with pytest.raises(FaqError, match="unknown scheme 'W3A61'"):
        rounded_copy(load_model(tiny_cell.target, "cpu"), make_spec("rtn", "W3A61"))
