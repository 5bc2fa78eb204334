"""What a process that excludes objects from collection says when it ends."""

from __future__ import annotations

import subprocess
import sys

import pytest

from faq_pipeline.settings import REPOSITORY

KEEP = "from faq_pipeline.util.garbage import keep_what_is_loaded as keep; keep()"
QUERY = "import duckdb; con = duckdb.connect(); con.execute('SELECT 1').fetchall(); con.close()"


def ended(*steps: str) -> subprocess.CompletedProcess[str]:
    """A Python process of these steps, after its end."""
    command = [sys.executable, "-c", "\n".join(steps)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=120)


@pytest.mark.parametrize(
    "steps",
    [(KEEP, QUERY), (KEEP, QUERY, KEEP), (QUERY, KEEP)],
    ids=["one run", "two runs in one process", "after a question to the index"],
)
def test_duckdb_reports_no_leak(steps: tuple[str, ...]) -> None:
    assert ended(*steps).stderr == ""


def test_only_the_first_call_keeps_objects() -> None:
    """Cycles that a run leaves may hold tensors, which a second call would keep to the end."""
    again = "import gc; before = gc.get_freeze_count(); made = [[] for _ in range(9999)]; keep()"
    first, second = ended(KEEP, again, "print(before, gc.get_freeze_count())").stdout.split()
    assert first == second != "0"
