"""Calibration rows and checkpoints of the tiny member."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from faq_pipeline.config.quantization import Quantization
from faq_pipeline.core.cell import Cell
from faq_pipeline.quantization.solvers import decoupled
from faq_pipeline.quantization.solvers.protocol import Problem, Solved
from faq_pipeline.settings import REPOSITORY
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


@pytest.fixture(autouse=True, scope="package")
def few_rounds() -> Iterator[None]:
    """decoupleQ makes few rounds here where a recipe asks for it: all of its steps, and seconds less."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoupled, "Decoupled", partial(decoupled.Decoupled, rounds=1, sweeps=2))
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


@pytest.fixture(scope="package")
def problems(bf16_arithmetic: None, tmp_path_factory: pytest.TempPathFactory) -> list[Problem]:
    """What GPTAQ is given for each layer of kin-4m, at W3 per channel, on a few of its seeds. Read-only."""
    from faq_pipeline.config.family import Member
    from faq_pipeline.models.weights import find_weights
    from faq_pipeline.quantization.oneshot import run
    from tests.quantization.layer_problems import SETTINGS, recorded, seeds

    member = Member(name="kin-4m", path=REPOSITORY / "data/models/kin-4m", parameters=3_672_832)
    weights = find_weights(member, tmp_path_factory.mktemp("digests"))
    spec = make_spec("gptaq", "W3A16", **SETTINGS)
    with pytest.MonkeyPatch.context() as patch:
        seen = recorded(patch)
        run(spec, weights, seeds(weights, 8), "cpu", SilentProgress())
    return seen


@pytest.fixture(scope="package")
def plain(problems: list[Problem]) -> list[Solved]:
    """GPTQ's results."""
    from faq_pipeline.quantization.solvers.grid import gptq

    return [gptq(problem) for problem in problems]


@pytest.fixture(scope="session")
def rtn_checkpoint(make_checkpoint: Make) -> Path:
    """Round-to-nearest at W4A16 per channel. Read-only: copy to change."""
    return make_checkpoint("rtn")
