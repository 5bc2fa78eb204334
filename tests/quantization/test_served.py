from __future__ import annotations

from pathlib import Path

import pytest
import torch

from faq_pipeline.config.quantization import Quantization
from faq_pipeline.core.cell import Cell
from faq_pipeline.models.loading import load_folder, load_tokenizer
from faq_pipeline.quantization import serving_format as served
from faq_pipeline.quantization.dense import write_dense
from faq_pipeline.quantization.load import load_quantized
from faq_pipeline.quantization.oneshot import quantize
from faq_pipeline.util.progress import SilentProgress
from tests.quantization.conftest import make_spec


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
    spec = make_spec("rtn", scheme)
    assert served.served_as(spec, "cuda") == gpu
    machine(monkeypatch, "x86_64", avx512=True)
    assert served.served_as(spec, "cpu") == with_avx512
    machine(monkeypatch, "x86_64", avx512=False)
    assert served.served_as(spec, "cpu") == without
    machine(monkeypatch, "aarch64", avx512=True)
    assert served.served_as(spec, "cpu") == without


@pytest.mark.parametrize(
    ("able", "spec"),
    [
        (False, make_spec("rtn", "W3A16")),
        (True, make_spec("rtn", "W8A8", "channel")),
        (False, make_spec("rtn", "W8A8", 32)),
        (False, make_spec("rtn", "W2A8")),
        (True, make_spec("rtn", "W4A16", layer_bits={"re:.*down_proj": 8})),
        (False, make_spec("rtn", "W4A16", layer_bits={"re:.*down_proj": 5})),
        (False, make_spec("rtn", "W4A16", plan={"average_bits": 4, "bits": [3, 4, 5]})),
    ],
)
def test_every_width_needs_a_kernel(able: bool, spec: Quantization) -> None:
    assert served.has_kernel(spec, "cuda") == able


def test_a_cpu_has_no_kernels_for_small_floats() -> None:
    spec = make_spec("rtn", "FP8", None)
    assert served.has_kernel(spec, "cuda") and not served.has_kernel(spec, "cpu")


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
