"""Peak memory does not grow with the corpus."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_four_times_the_corpus_takes_no_more_memory(tmp_path: Path):
    """Less than a quarter of what keeping the moments of the added samples would take."""
    command = [sys.executable, "-m", "tests.calibration.memory", str(tmp_path)]
    # Blocks go back to the system when they are freed: the peak is what is in use, not what is kept by.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    growth = json.loads(done.stdout)
    kept = growth.pop("kept")
    assert len(growth) == 6
    assert all(grown < kept / 4 for grown in growth.values()), growth
    assert not list(tmp_path.iterdir())
