"""Whose run it is: the slot of a dead process is freed, and a live process is not taken for dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from faq_pipeline.orchestration.runs import open_instance
from faq_pipeline.settings import REPOSITORY, Settings
from faq_pipeline.util import processes
from faq_pipeline.util.processes import mark_is_dead, own_mark
from tests.faults.table import FaultTable

LIVENESS = "liveness of the process of a run"
HOLDER = """
import sys, time
from pathlib import Path
import dagster as dg
from faq_pipeline.orchestration.runs import open_instance
from faq_pipeline.settings import Settings

@dg.op(pool="gpu")
def hold():
    Path(sys.argv[1]).touch()
    time.sleep(600)

@dg.job(executor_def=dg.in_process_executor)
def holding():
    hold()

with open_instance(Settings.from_environment()) as instance:
    holding.execute_in_process(instance=instance)
"""


def test_the_slot_of_a_killed_materialize_is_freed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault_table: FaultTable
) -> None:
    """The next command finds that the run's process is gone, ends the run and frees pool `gpu`."""
    monkeypatch.setenv("FAQ_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FAQ_DEVICE", "cpu")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home/dagster"))
    held = tmp_path / "held"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(held)],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not held.exists() and holder.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        os.killpg(holder.pid, signal.SIGKILL)
        holder.wait()
    if not held.exists():
        raise RuntimeError("the run never took the slot")
    with open_instance(Settings.from_environment()) as instance:
        statuses = [run.status.value for run in instance.get_runs()]
        slots = instance.event_log_storage.get_concurrency_info("gpu")
    with fault_table.trial(LIVENESS):
        assert len(statuses) == 1 and statuses[0] in ("FAILURE", "CANCELED")
        assert slots.active_slot_count == 0


def stepped_proc(folder: Path, seconds: int) -> Path:
    """A copy of /proc, as links, whose boot time is that of a clock stepped forward."""
    folder.mkdir()
    for entry in Path("/proc").iterdir():
        if entry.name != "stat":
            (folder / entry.name).symlink_to(entry)
    lines = Path("/proc/stat").read_text().splitlines()
    stepped = [
        f"btime {int(line.split()[1]) + seconds}" if line.startswith("btime ") else line for line in lines
    ]
    (folder / "stat").write_text("\n".join(stepped) + "\n")
    return folder


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("seconds", [2, 3600])
def test_a_step_of_the_clock_kills_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: int, fault_table: FaultTable
) -> None:
    """A process that runs on while the clock is set forward (NTP, a resumed machine) is alive."""
    mark = own_mark()
    if mark_is_dead(mark):
        raise RuntimeError("dead before the step")
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(stepped_proc(tmp_path / "proc", seconds)))
    monkeypatch.setattr(processes, "PROC", tmp_path / "proc")
    with fault_table.trial(LIVENESS):
        assert not mark_is_dead(mark)
