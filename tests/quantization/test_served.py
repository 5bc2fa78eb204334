from __future__ import annotations

from pathlib import Path

import pytest
import torch

from faq_pipeline.config.recipe import Quantization
from faq_pipeline.core.cell import Cell
from faq_pipeline.models.loading import load_folder, load_tokenizer
from faq_pipeline.quantization import serving_format as served
from faq_pipeline.quantization.dense import write_dense
from faq_pipeline.quantization.load import load_quantized
from faq_pipeline.quantization.oneshot import quantize
from faq_pipeline.util.progress import SilentProgress


def machine(patch: pytest.MonkeyPatch, name: str, *, avx512: bool) -> None:
    patch.setattr(served.platform, "machine", lambda: name)
    flags = "flags : fpu avx2 avx512f avx512vl\n" if avx512 else "flags : fpu avx2 sha_ni\n"
    patch.setattr(served.Path, "read_text", lambda path, **_: flags)


@pytest.mark.parametrize(
    ("scheme", "gpu", "with_avx512", "without"),
    [
        ("W4A16", "packed", "packed", "dense"),
        ("W4A16_ASYM", "packed", "packed", "dense"),
        ("W8A16", "packed", "dense", "dense"),
        ("W3A16", "dense", "dense", "dense"),
        ("W2A16", "dense", "dense", "dense"),
        ("W8A8", "packed", "packed", "packed"),
        ("W4A4", "packed", "packed", "packed"),
        ("NVFP4A16", "packed", "dense", "dense"),
        ("FP8_DYNAMIC", "packed", "packed", "packed"),
    ],
)
def test_what_vllm_has_no_kernel_for_is_served_dense(
    scheme: str, gpu: str, with_avx512: str, without: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert served.served_as(scheme, "cuda") == gpu
    machine(monkeypatch, "x86_64", avx512=True)
    assert served.served_as(scheme, "cpu") == with_avx512
    machine(monkeypatch, "x86_64", avx512=False)
    assert served.served_as(scheme, "cpu") == without
    machine(monkeypatch, "aarch64", avx512=True)
    assert served.served_as(scheme, "cpu") == without


def test_schemes_that_are_served_dense_are_told_apart_from_those_without_kernel() -> None:
    assert not served.has_kernel("W3A16", "cuda") and served.has_kernel("W8A8", "cuda")
    assert not served.has_kernel("W2A8", "cuda")
    assert served.has_kernel("FP8", "cuda") and not served.has_kernel("FP8", "cpu")


@pytest.mark.parametrize("group_size", [32, "channel"])
def test_a_dense_checkpoint_has_the_quantized_logits(
    tiny_cell: Cell, tmp_path: Path, group_size: int | str
) -> None:
    spec = Quantization.model_validate({"method": "rtn", "scheme": "W3A16", "group_size": group_size})
    member = tiny_cell.target.member
    quantize(spec, tiny_cell.target, [], tmp_path / "packed", "cpu", SilentProgress())
    write_dense(tmp_path / "packed", member, tmp_path / "dense", "cpu")
    packed, dense = load_quantized(tmp_path / "packed", member, "cpu"), load_folder(tmp_path / "dense", "cpu")
    ids = torch.arange(3, 40)[None]
    with torch.inference_mode():
        assert torch.equal(packed(ids).logits, dense(ids).logits)
    assert set(dense.state_dict()) == set(load_folder(tiny_cell.target.folder, "cpu").state_dict())
    assert load_tokenizer(tiny_cell.target).chat_template
    assert (tmp_path / "dense/tokenizer.json").read_bytes() == (
        tiny_cell.target.folder / "tokenizer.json"
    ).read_bytes()
