from __future__ import annotations

import shutil
import weakref
from pathlib import Path

import pytest
import torch
from compressed_tensors.compressors import decompress_module
from safetensors.torch import load_file, save_file

from faq_pipeline.config.family import Member
from faq_pipeline.core.cell import Cell
from faq_pipeline.quantization.inspection import bits_per_weight, inspect_checkpoint
from faq_pipeline.quantization.layerwise import layerwise_logits
from tests.quantization.conftest import Make

SCALE = "model.layers.1.mlp.up_proj.weight_scale"


@pytest.fixture
def copied(rtn_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(rtn_checkpoint, tmp_path / "copy"))


def edit(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("planted", [float("nan"), float("inf"), float("-inf")])
def test_a_planted_nan_is_found(planted: float, copied: Path, tiny_cell: Cell) -> None:
    tensors = load_file(copied / "model.safetensors")
    tensors[SCALE][3, 0] = planted
    edit(copied, tensors)
    found = inspect_checkpoint(copied, tiny_cell.target)
    assert found.nan_tensors == (SCALE,)
    assert not found.loads and "not finite" in found.load_error


def test_a_lost_tensor_is_found(copied: Path, tiny_cell: Cell) -> None:
    tensors = load_file(copied / "model.safetensors")
    del tensors["model.norm.weight"]
    edit(copied, tensors)
    found = inspect_checkpoint(copied, tiny_cell.target)
    assert found.missing_tensors == ("model.norm.weight",)
    assert not found.loads and "model.norm.weight is missing" in found.load_error


def test_an_unknown_architecture_does_not_load(copied: Path, tiny_cell: Cell) -> None:
    text = (copied / "config.json").read_text()
    (copied / "config.json").write_text(text.replace('"qwen3"', '"nonsense"'))
    found = inspect_checkpoint(copied, tiny_cell.target)
    assert not found.loads and "nonsense" in found.load_error


def test_a_weight_of_another_shape_does_not_pass_as_loaded(copied: Path, tiny_cell: Cell) -> None:
    tensors = load_file(copied / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    tensors[f"{name}_packed"] = tensors[f"{name}_packed"][:-8].contiguous()
    tensors[f"{name}_scale"] = tensors[f"{name}_scale"][:-8].contiguous()
    tensors[f"{name}_shape"][0] -= 8
    edit(copied, tensors)
    found = inspect_checkpoint(copied, tiny_cell.target)
    assert not found.loads and found.load_error


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
    ],
)
def test_a_full_gpu_says_nothing_of_the_checkpoint(
    error: RuntimeError, rtn_checkpoint: Path, tiny_cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def logits(folder: Path, member: Member, device: str, ids: torch.Tensor) -> torch.Tensor:
        tried.append(device)
        if device != "cpu":
            raise error
        return layerwise_logits(folder, member, device, ids)

    monkeypatch.setattr("faq_pipeline.quantization.layerwise.layerwise_logits", logits)
    found = inspect_checkpoint(rtn_checkpoint, tiny_cell.target, "cuda:0")
    assert found.loads and tried == ["cuda:0", "cpu"]


def test_full_main_memory_is_no_verdict_either(
    rtn_checkpoint: Path, tiny_cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object, **__: object) -> object:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("faq_pipeline.quantization.load.load_folder", load)
    with pytest.raises(RuntimeError, match="allocate"):
        inspect_checkpoint(rtn_checkpoint, tiny_cell.target)


def test_one_decoder_layer_at_a_time_is_dense(
    rtn_checkpoint: Path, tiny_cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    dense: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()
    at_once = []

    def decompress(module: torch.nn.Module) -> None:
        decompress_module(module)
        dense.add(module.weight)
        at_once.append(len(dense))

    def load(*_: object) -> None:
        raise AssertionError("the whole model is decompressed")

    monkeypatch.setattr("compressed_tensors.compressors.decompress_module", decompress)
    monkeypatch.setattr("faq_pipeline.quantization.load.load_quantized", load)
    assert inspect_checkpoint(rtn_checkpoint, tiny_cell.target).loads
    assert at_once == [*range(1, 8)] * 2  # two decoder layers of seven linear layers


def test_a_model_that_goes_past_its_layers_is_loaded_whole(
    rtn_checkpoint: Path, tiny_cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one whose code uses a weight of a decoder layer without a call of the layer."""
    from transformers.models.qwen3.modeling_qwen3 import Qwen3DecoderLayer

    def call(layer: Qwen3DecoderLayer, *args: object, **kwargs: object) -> object:
        return Qwen3DecoderLayer.forward(layer, *args, **kwargs)

    monkeypatch.setattr(Qwen3DecoderLayer, "__call__", call)
    with pytest.raises(AttributeError):
        layerwise_logits(rtn_checkpoint, tiny_cell.target.member, "cpu", torch.arange(8)[None])
    assert inspect_checkpoint(rtn_checkpoint, tiny_cell.target).loads


def test_layers_left_unquantized_are_listed(make_checkpoint: Make, tiny_cell: Cell) -> None:
    folder = make_checkpoint("rtn", ignore=["lm_head", "re:.*o_proj$"])
    found = inspect_checkpoint(folder, tiny_cell.target)
    assert found.unquantized_linear_layers == tuple(f"model.layers.{i}.self_attn.o_proj" for i in (0, 1))


def test_bits_count_scales_too(rtn_checkpoint: Path, tiny_cell: Cell) -> None:
    bits = bits_per_weight(rtn_checkpoint, tiny_cell.target)
    # 4 bits, a 16-bit scale for each row of 128 or 256 columns, a shape of 128 bits for each layer
    assert 4 + 16 / 256 < bits < 4 + 16 / 128 + 128 / (64 * 128)
