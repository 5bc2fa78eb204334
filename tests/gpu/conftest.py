"""Processes that race for GPUs."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.gpu.fakes import Diary

LONG = 60.0
"""Seconds after which an answer will never come."""


class Racing:
    """A racer, told line by line; see `tests.gpu.racer`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.gpu.racer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        self._said: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def answer(self) -> str:
        """Its next line."""
        return self._said.get(timeout=LONG)

    def ask(self, line: str) -> str:
        self.tell(line)
        return self.answer()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def lives(self) -> bool:
        return self._process.poll() is None

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said.put(line.rstrip("\n"))


Start = Callable[..., Racing]


@pytest.fixture
def leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for leases, not made yet."""
    monkeypatch.setenv("FAQ_LEASES", str(tmp_path / "leases"))
    return tmp_path / "leases"


@pytest.fixture
def diary(tmp_path: Path) -> Diary:
    return Diary(tmp_path / "diary")


@pytest.fixture(scope="session")
def racers() -> Iterator[list[Racing]]:
    """All that were started: those that no test has killed serve the next one."""
    started: list[Racing] = []
    yield started
    for one in started:
        one.kill()


@pytest.fixture
def start(leases: Path, diary: Diary, racers: list[Racing]) -> Iterator[Start]:
    """Racers, each with its own CUDA_VISIBLE_DEVICES: `0,1` makes two GPUs, in that order."""
    used: list[Racing] = []

    def begin(*visible: str) -> list[Racing]:
        racers[:] = [one for one in racers if one.lives]
        racers.extend(Racing() for _ in range(len(visible) - len(racers)))
        used.extend(racers[: len(visible)])
        for one, own in zip(used, visible, strict=True):
            assert one.ask(f"world {diary.path.parent} {own}") == "ready"
        return used

    yield begin
    for one in used:
        if one.lives and not _gave_back(one):
            one.kill()


def _gave_back(one: Racing) -> bool:
    try:
        return one.ask("give back") == "given back"
    except queue.Empty:  # it waits, in a test that failed
        return False
