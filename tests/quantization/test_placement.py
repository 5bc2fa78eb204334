from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from faq_pipeline.quantization import placement
from faq_pipeline.quantization.placement import SHARE, activations_device

ROWS = [[1] * 100, [1] * 20]
WIDTH = 64
NEEDED = 2 * (120 * WIDTH + 100**2 + 20**2)
"""Bytes in bf16: a vector a token, and a mask a row."""


TEXT = SimpleNamespace(hidden_size=WIDTH)
MODEL: Any = SimpleNamespace(config=SimpleNamespace(get_text_config=lambda: TEXT))
"""A model as far as it is looked at."""


@pytest.mark.parametrize(
    ("free", "where"), [(NEEDED / SHARE, "cuda:0"), (NEEDED / SHARE - 1, "cpu"), (0, "cpu")]
)
def test_activations_stay_on_a_gpu_that_has_room_for_them(
    free: float, where: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(placement, "torch_device", lambda device: torch.device("cuda", 0))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 2**40))
    assert activations_device(MODEL, ROWS, "cuda") == where


def test_without_a_gpu_they_stay_in_main_memory():
    assert activations_device(MODEL, ROWS, "cpu") == "cpu"
