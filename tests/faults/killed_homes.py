"""Homes whose runs are killed: how runs are started, whom a kill hits, and what must hold after it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import dagster as dg
import psutil
from dagster import DagsterRunStatus

from faq_pipeline.execution.cell_resolver import CellResolver
from faq_pipeline.orchestration.partitions import register_cells
from faq_pipeline.orchestration.runs import open_instance
from faq_pipeline.orchestration.tags import GPU_POOL
from faq_pipeline.settings import REPOSITORY, Settings
from faq_pipeline.store.store import Store
from faq_pipeline.util.locks import is_locked
from tests.orchestration.cli import Faq
from tests.services import until

Victim = Literal["parent", "step", "group"]
"""Whom a kill hits: the process of the run, the process of a step, or all that the run started."""
MEMBER, RECIPE = "tiny-s", "tiny-faq"
ENDED = {DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.NOT_STARTED}
"""A `dagster asset materialize` that is killed before its run starts leaves one that holds nothing."""


@dataclass(frozen=True)
class Home:
    """A home of its own; `faq run` finds made-up GPUs in it, so that it takes leases too."""

    faq: Faq
    leases: Path

    @classmethod
    def at(cls, root: Path, data: Path) -> Home:
        return cls(Faq(root / "home", data), root / "leases")

    @property
    def environment(self) -> dict[str, str]:
        dagster = str(self.faq.home / "dagster")
        return {**self.faq.environment, "DAGSTER_HOME": dagster, "FAQ_LEASES": str(self.leases)}

    @property
    def settings(self) -> Settings:
        return Settings(self.faq.home, (REPOSITORY / "data", self.faq.data), "cpu")

    @property
    def store(self) -> Store:
        return self.settings.store

    @cached_property
    def partition(self) -> str:
        """The cell's key, its member registered with Dagster."""
        settings = self.settings
        cell = CellResolver(settings).cell(MEMBER, RECIPE)
        with self.instance() as instance:
            register_cells(instance, [cell.partition])
        return cell.partition

    def instance(self) -> dg.DagsterInstance:
        """Its instance, as every command opens it."""
        os.environ["DAGSTER_HOME"] = str(self.faq.home / "dagster")
        return open_instance(self.settings)

    @property
    def faq_run(self) -> list[str]:
        """`faq run` on made-up GPUs."""
        diary = str(self.faq.home.with_name("diary"))
        run = ["run", "--member", MEMBER, "--recipe", RECIPE, "--device", "cuda"]
        return [sys.executable, "-m", "tests.gpu.faq_on_fakes", diary, *run]

    @property
    def materialize(self) -> list[str]:
        """Dagster's own command, each step in a process."""
        command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "faq_pipeline.definitions"]
        return [*command, "--select", "*eval_report", "--partition", self.partition]

    def start(self, command: list[str]) -> subprocess.Popen[bytes]:
        """Start it in a session of its own; what it says goes to a file."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                env=self.environment,
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def log(self) -> Path:
        return self.faq.home.with_name("log")

    def processes(self) -> list[psutil.Process]:
        """All that have this home in their environment, but those that have just ended."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("FAQ_HOME") == str(self.faq.home):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def digests(self) -> dict[str, str]:
        """By fingerprint, what is there."""
        return {one.fingerprint: one.digest for one in self.store.artifacts()}

    def written(self) -> dict[str, int]:
        """By fingerprint, when each artifact was written."""
        return {
            one.path.name: (one.path / "manifest.json").stat().st_mtime_ns for one in self.store.folders()
        }

    def held(self) -> list[Path]:
        """Locks of the store, of runs and of GPUs that somebody holds."""
        places = (self.faq.home, self.leases)
        return [lock for place in places for lock in place.rglob("*.lock") if is_locked(lock)]


def kill(process: subprocess.Popen[bytes], victim: Victim, drawn: random.Random) -> bool:
    """`kill -9` of one or all; False if there was nobody left to kill."""
    if process.poll() is not None:
        return False
    if victim == "group":
        os.killpg(process.pid, signal.SIGKILL)
    elif victim == "step":
        steps = [one for child in psutil.Process(process.pid).children() for one in child.children()]
        if not steps:
            return False
        drawn.choice(steps).kill()
    else:
        process.kill()
    return True


def killed(home: Home, command: list[str], victim: Victim, after: float, drawn: random.Random) -> bool:
    """Start a run and kill somebody of it after so many seconds; False if the run had ended by then.

    Where no step has a process yet, or none any more, it tries again until one has.
    """
    process = home.start(command)
    with suppress(subprocess.TimeoutExpired):
        process.wait(after)
    hit = kill(process, victim, drawn)
    while not hit and process.poll() is None:
        time.sleep(0.01)
        hit = kill(process, victim, drawn)
    process.wait()
    return hit


def check_nothing_is_left(home: Home) -> None:
    """No process of a killed run goes on, and none of its locks is held."""
    until("the end of all processes", lambda: not home.processes(), patience=120)
    # A process that is killed loses its memory, and so its environment, before its files are closed.
    until("the end of all locks", lambda: not home.held(), patience=10)


def check_nothing_is_held(home: Home) -> None:
    """After a run that went well: no slot is taken or waited for, and no run counts as going on."""
    with home.instance() as instance:
        slots = instance.event_log_storage.get_concurrency_info(GPU_POOL)
        assert slots.active_slot_count == slots.pending_step_count == 0
        statuses = {run.status for run in instance.get_runs()}
        assert statuses <= ENDED, statuses
    assert home.held() == []
    assert not list((home.store.root / ".staging").glob("*"))
