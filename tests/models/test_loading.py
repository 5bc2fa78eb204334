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
from faq_pipeline.models.device import compute_identity, fix_threads

small = Member(name="s", path=Path("."), parameters=10**6)
large = Member(name="l", path=Path("."), parameters=10**9)
for member in (large, small):
    fix_threads(member, "cpu")
    assert torch.get_num_threads() == compute_identity(member, "cpu")["threads"]
print(torch.get_num_threads())
"""


@pytest.mark.parametrize("asked", ["1", "3"])
def test_small_members_compute_with_one_thread_whatever_the_environment_says(asked: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, "OMP_NUM_THREADS": asked},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "1"


def test_loading_fixes_them(tiny_cell: Cell) -> None:
    torch.set_num_threads(2)
    load_model(tiny_cell.target, "cpu")
    assert torch.get_num_threads() == 1
