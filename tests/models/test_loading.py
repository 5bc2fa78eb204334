"""Loading a member fixes how many threads compute it: bytes must not follow the environment."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from faq_pipeline.core.cell import Cell
from faq_pipeline.models.loading import load_model

CODE = """
import sys
from pathlib import Path
from types import SimpleNamespace
import torch
from faq_pipeline.config.family import Member
from faq_pipeline.models import precision
from faq_pipeline.models.cpu_threads import fix_threads
from faq_pipeline.models.device import compute_identity

precision.has_bf16_arithmetic = lambda: sys.argv[1] == "bf16"
small = Member(name="s", path=Path("."), parameters=10**6)
large = Member(name="l", path=Path("."), parameters=10**9)
for member in (large, small):
    fix_threads(member, "cpu")
    assert torch.get_num_threads() == compute_identity(member, "cpu")["threads"]
print(torch.get_num_threads())
"""


@pytest.mark.parametrize("asked", ["1", "3"])
@pytest.mark.parametrize(("processor", "threads"), [("bf16", "1"), ("other", "2")])
def test_threads_of_small_members_are_what_the_identity_says_whatever_the_environment_does(
    asked: str, processor: str, threads: str
) -> None:
    run = subprocess.run(
        [sys.executable, "-c", CODE, processor],
        env={**os.environ, "OMP_NUM_THREADS": asked},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == threads


@pytest.mark.parametrize(("able", "threads"), [(True, 1), (False, 2)])
def test_loading_fixes_them(
    able: bool, threads: int, tiny_cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faq_pipeline.models.precision.has_bf16_arithmetic", lambda: able)
    torch.set_num_threads(3)
    model = load_model(tiny_cell.target, "cpu")
    assert torch.get_num_threads() == threads
    assert model.dtype == (torch.bfloat16 if able else torch.float32)
    torch.set_num_threads(1)
