"""Runs a command under a supervisor, so that it ends with this process. Its output goes to a file."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

SUPERVISOR = Path(__file__).with_name("supervisor.py")


class SupervisedProcess:
    """A running command with all it starts, which never outlives this process.

    Args:
        variables: its environment variables, all of them.
        folder: where it runs.
        log: its output is appended here.
        grace: seconds between SIGTERM and SIGKILL.
    """

    def __init__(
        self,
        command: Sequence[str],
        variables: Mapping[str, str],
        folder: Path,
        log: Path,
        *,
        grace: float = 10.0,
    ) -> None:
        self._grace, self._log = grace, log
        with log.open("ab") as output:
            self._start = output.tell()
            # -P: beside the script lie modules whose names could hide others.
            self._supervisor = subprocess.Popen(
                [sys.executable, "-P", str(SUPERVISOR)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        what = {"command": list(command), "variables": dict(variables), "folder": str(folder), "grace": grace}
        assert self._supervisor.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # then it has ended, as `exit_code` tells
            self._supervisor.stdin.write(json.dumps(what).encode() + b"\n")
            self._supervisor.stdin.flush()

    @property
    def exit_code(self) -> int | None:
        """None while it runs; above 128 a signal ended it."""
        return self._supervisor.poll()

    def output(self, lines: int) -> list[str]:
        """The last lines that it has written."""
        with self._log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(self._start, size - 64 * 1024))
            text = file.read().decode("utf-8", "replace")
        return [line for line in text.splitlines() if line.strip()][-lines:]

    def stop(self) -> int:
        """End it and all it started; returns its exit code."""
        assert self._supervisor.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._supervisor.stdin.close()
        try:
            code = self._supervisor.wait(self._grace + 20)
        except subprocess.TimeoutExpired:
            self._supervisor.kill()
            code = self._supervisor.wait()
        if code < 0:  # the supervisor was killed; the group it leads may live on
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._supervisor.pid, signal.SIGKILL)
        return code
