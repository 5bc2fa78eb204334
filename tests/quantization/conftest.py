"""Calibration rows and checkpoints of the tiny member."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from faq_pipeline.config.quantization import Quantization
from faq_pipeline.core.cell import Cell
from faq_pipeline.util.progress import SilentProgress

Make = Callable[..., Path]


def make_rows(count: int = 6, length: int = 64) -> list[list[int]]:
    drawn = random.Random(0)
    return [[drawn.randrange(300) for _ in range(length)] for _ in range(count)]


def make_spec(method: str, scheme: str = "W4A16", group_size: Any = "channel", **more: Any) -> Quantization:
    return Quantization(method=method, scheme=scheme, group_size=group_size, **more)


@pytest.fixture(autouse=True, scope="package")
def bf16_arithmetic() -> Iterator[None]:
    """Models compute in bf16 here, whatever the processor; `test_widening` has both precisions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("faq_pipeline.models.precision.has_bf16_arithmetic", lambda: True)
        yield


@pytest.fixture(scope="session")
def make_checkpoint(tiny_cell: Cell, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A fresh checkpoint of tiny-s by (method, scheme, group_size, ...)."""
    from faq_pipeline.quantization.oneshot import quantize

    def make(*args: Any, rows: list[list[int]] | None = None, **kwargs: Any) -> Path:
        folder = tmp_path_factory.mktemp("checkpoint")
        spec = make_spec(*args, **kwargs)
        quantize(
            spec, tiny_cell.target, make_rows() if rows is None else rows, folder, "cpu", SilentProgress()
        )
        return folder

    return make


@pytest.fixture(scope="session")
def rtn_checkpoint(make_checkpoint: Make) -> Path:
    """Round-to-nearest at W4A16 per channel. Read-only: copy to change."""
    return make_checkpoint("rtn")
