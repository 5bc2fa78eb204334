"""What is quantized in float32 is stored as if it had been quantized in bf16."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from faq_pipeline.core.cell import Cell
from faq_pipeline.quantization.load import load_quantized
from faq_pipeline.quantization.oneshot import quantize
from faq_pipeline.util.progress import SilentProgress
from tests.quantization.conftest import make_rows, make_spec

CASES = [
    ("rtn", "W3A16", "channel"),
    ("rtn", "W8A16", "channel"),
    ("gptq", "W3A16", "channel"),
    ("gptq", "W4A16_ASYM", 32),
    ("gptq", "W8A8", "channel"),
    ("decoupleq", "W3A16", "channel"),
    ("awq", "W4A16", 32),
    ("smoothquant", "W8A8", "channel"),
    ("rtn", "FP8_DYNAMIC", None),
    ("rtn", "NVFP4A16", None),
    ("rtn", "MXFP4A16", None),
    ("gptq", "NVFP4", None),
    ("gptq", "FP8", None),
]


@pytest.mark.parametrize(("method", "scheme", "group"), CASES)
def test_a_checkpoint_has_the_same_form_in_either_precision(
    method: str, scheme: str, group: object, tiny_cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, made = make_spec(method, scheme, group), {}
    for able in (True, False):
        monkeypatch.setattr("faq_pipeline.models.precision.has_bf16_arithmetic", lambda able=able: able)
        made[able] = tmp_path / str(able)
        quantize(spec, tiny_cell.target, make_rows(), made[able], "cpu", SilentProgress())
    native, emulated = ({p.name: p for p in folder.iterdir()} for folder in made.values())
    assert native.keys() == emulated.keys()
    for name in native.keys() - {"model.safetensors"}:
        assert native[name].read_bytes() == emulated[name].read_bytes(), name
    one, other = (load_file(files["model.safetensors"]) for files in (native, emulated))
    assert {name: (t.dtype, t.shape) for name, t in one.items()} == {
        name: (t.dtype, t.shape) for name, t in other.items()
    }
    # No data, and so the same bytes; but NVFP4 divides by two scales, and bf16 rounds in between.
    if method == "rtn" and scheme != "NVFP4A16":
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_checkpoint_computes_in_either_precision_with_the_same_weights(
    tiny_cell: Cell, tmp_path: Path
) -> None:
    quantize(make_spec("gptq", "W3A16"), tiny_cell.target, make_rows(), tmp_path, "cpu", SilentProgress())
    narrow, wide = (
        load_quantized(tmp_path, tiny_cell.target.member, "cpu", precision)
        for precision in ("bfloat16", "float32")
    )
    assert (narrow.dtype, wide.dtype) == (torch.bfloat16, torch.float32)
    for (name, one), (_, other) in zip(narrow.named_parameters(), wide.named_parameters(), strict=True):
        if one.is_floating_point():
            assert torch.equal(one.float(), other), name
