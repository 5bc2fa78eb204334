"""A NaN or an infinity anywhere in the weights is found, once for a file as it is."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from faq_pipeline.errors import FaqError
from faq_pipeline.models import finite_weights
from faq_pipeline.models.finite_weights import check_finite

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e5m2, torch.float8_e4m3fn]
VALUES = st.floats(width=32) | st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 448.0, -57344.0])


def is_sound(path: Path, cache: Path) -> bool:
    try:
        check_finite(path, cache)
    except FaqError as error:
        assert error.file == path and "second" in error.problem
        return False
    return True


@given(st.sampled_from(FLOATS), st.lists(VALUES, min_size=1, max_size=9), st.integers(1, 4))
def test_it_agrees_with_torch(tmp_path: Path, dtype: torch.dtype, values: list[float], block: int) -> None:
    """In every dtype, and wherever a block ends."""
    tensor = torch.tensor(values, dtype=torch.float64).to(dtype)
    path = tmp_path / "w.safetensors"
    save_file({"first": torch.ones(3), "second": tensor}, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finite_weights, "BLOCK", 8 * block)
        assert is_sound(path, tmp_path / "cache") == bool(torch.isfinite(tensor.to(torch.float64)).all())


def test_a_sound_file_is_read_once_and_a_changed_one_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cache = tmp_path / "w.safetensors", tmp_path / "cache"
    save_file({"second": torch.ones(8)}, path)
    assert is_sound(path, cache)
    with monkeypatch.context() as patch:
        patch.setattr(finite_weights, "read_header", lambda path: pytest.fail("read again"))
        assert is_sound(path, cache)
    save_file({"second": torch.full((8,), torch.nan)}, path)
    assert not is_sound(path, cache) and not is_sound(path, cache)


def test_integers_are_never_a_nan(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"packed": torch.full((8,), -1, dtype=torch.int32)}, path)
    assert is_sound(path, tmp_path / "cache")
