"""Dagster's long-running processes, started as a user starts them and ended however a test likes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from faq_pipeline.settings import REPOSITORY

PATIENCE = 1500.0
"""Seconds after which a test gives up; on a busy machine a stage of seconds takes a minute."""
LOOK = 0.5


def until(what: str, condition: Callable[[], bool], patience: float = PATIENCE, look: float = LOOK) -> None:
    """Wait for something that other processes bring about, looking every `look` seconds."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(look)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def script(name: str) -> str:
    """A command of this environment."""
    return str(Path(sys.executable).with_name(name))


@dataclass
class Service:
    """One process with its descendants, in a session of its own; what it says goes to a file."""

    command: list[str]
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> Service:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=dict(self.environment),
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def kill(self) -> None:
        """`kill -9` of this process alone; what it started lives on."""
        self.process.kill()
        self.process.wait()

    def kill_group(self) -> None:
        """`kill -9` of all that it started, and of itself if it still lives."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.process.wait()

    def check(self) -> bool:
        """True; the test ends here with what it said if it has ended."""
        ended = self.process.poll()
        assert ended is None, f"{self.command} ended with {ended}:\n{self.said()}"
        return True

    def said(self) -> str:
        """The end of what it said."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-4000:]


def answers(url: str) -> bool:
    """Whether a web server answers there."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
