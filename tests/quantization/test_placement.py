from __future__ import annotations

import json
from typing import Any

import llmcompressor
import pytest
import torch
from compressed_tensors.offload.cache import CPUCache

from faq_pipeline.core.cell import Cell
from faq_pipeline.quantization import compute_device as placement
from faq_pipeline.quantization import oneshot
from faq_pipeline.quantization.compute_device import SHARE, activations_device
from faq_pipeline.quantization.oneshot import run
from faq_pipeline.util.progress import SilentProgress
from tests.noting import Noting
from tests.quantization.conftest import make_rows, make_spec

ROWS = [[1] * 100, [1] * 20]


@pytest.mark.parametrize(("spare", "where"), [(0, "cuda:0"), (-1, "cpu")])
def test_activations_stay_on_a_gpu_that_has_room_for_them(
    spare: int, where: str, tiny_cell: Cell, monkeypatch: pytest.MonkeyPatch
):
    """In bf16: a vector a token, and a mask a row."""
    width = json.loads((tiny_cell.target.folder / "config.json").read_text())["hidden_size"]
    needed = 2 * (120 * width + 100**2 + 20**2)
    monkeypatch.setattr(placement, "torch_device", lambda device: torch.device("cuda", 0))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (needed / SHARE + spare, 2**40))
    assert activations_device(tiny_cell.target, ROWS, "cuda") == where


def test_without_a_gpu_they_stay_in_main_memory(tiny_cell: Cell):
    assert activations_device(tiny_cell.target, ROWS, "cpu") == "cpu"


def test_where_the_gpu_is_full_all_is_done_anew_without(tiny_cell: Cell, monkeypatch: pytest.MonkeyPatch):
    spec, rows = make_spec("gptq", "W4A16", 64), make_rows()
    undisturbed = run(spec, tiny_cell.target, rows, "cpu", SilentProgress()).model.state_dict()
    places: list[str] = []
    original = llmcompressor.oneshot

    def full(**options: object) -> object:
        """What a GPU is, as far as this machine goes, that fills up in the middle of the work."""
        places.append(str(options["sequential_offload_device"]))
        result = original(**options)
        if places[-1] != "cpu":
            raise torch.OutOfMemoryError("Sequential pipeline ran out of memory.")
        return result

    monkeypatch.setattr(llmcompressor, "oneshot", full)
    monkeypatch.setattr(oneshot, "activations_device", lambda *asked: "cpu:0")
    told = Noting()
    again = run(spec, tiny_cell.target, rows, "cpu", told).model.state_dict()
    assert places == ["cpu:0", "cpu"]
    assert "the GPU is full" in told.notes[0]
    assert all(torch.equal(again[name], tensor) for name, tensor in undisturbed.items())


def test_full_main_memory_is_an_error(tiny_cell: Cell, monkeypatch: pytest.MonkeyPatch):
    calls: list[object] = []

    def full(**options: object) -> None:
        calls.append(options)
        raise torch.OutOfMemoryError("Sequential pipeline ran out of memory.")

    monkeypatch.setattr(llmcompressor, "oneshot", full)
    with pytest.raises(torch.OutOfMemoryError):
        run(make_spec("gptq", "W4A16", 64), tiny_cell.target, make_rows(), "cpu", SilentProgress())
    assert len(calls) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"method": "autoround", "scheme": "W4A16_ASYM", "iterations": 1},
        {"method": "gptaq", "scheme": "W3A16", "compensation": {"rank": 4}},
    ],
    ids=["autoround", "gptaq"],
)
def test_what_is_done_on_a_device_gets_back_to_main_memory(
    fields: dict[str, Any], tiny_cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU, the weights that are computed with are copies of those that are saved."""
    from auto_round.utils.device_manager import CpuARDevice

    monkeypatch.setattr(CpuARDevice, "supports_bf16", lambda self: True)

    def made() -> Any:
        spec = make_spec(group_size=64, **fields)
        return run(spec, tiny_cell.target, make_rows(2, 16) + make_rows(1, 9), "cpu", SilentProgress())

    expected, copies = made(), []

    def copied(cache: CPUCache, tensor: torch.Tensor | None) -> torch.Tensor | None:
        if tensor is None:
            return None
        copy = tensor.detach().clone()
        copy.__class__, copy.__dict__ = tensor.__class__, dict(tensor.__dict__)
        copies.append(copy)
        return copy

    monkeypatch.setattr(CPUCache, "onload", copied)
    found = made()
    assert copies
    state = found.model.state_dict()
    for name, tensor in expected.model.state_dict().items():
        assert torch.equal(state[name], tensor) and state[name].dtype == tensor.dtype, name
    assert found.log == expected.log
    for name, own in expected.adapter.items():
        assert torch.equal(found.adapter[name].product, own.product)
