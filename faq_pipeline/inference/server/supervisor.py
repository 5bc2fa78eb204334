"""A supervisor process between the pipeline and a model server: the server never outlives its owner.

The supervisor runs in its own session with the server, and holds the reading end of a pipe whose
writing end belongs to the owner. When the owner ends for any reason, the kernel closes the pipe, and
the supervisor stops the server and everything that it started. It is the subreaper of all of those
(Linux), so none can escape by leaving the process group. If the supervisor itself is killed, the kernel
kills the server, and the owner kills the rest of the group.

The command comes through the pipe as one line of JSON: `command`, `variables`, `folder`, `grace`. The
supervisor's exit code is the server's, or 128 plus the signal that ended it. `supervised_process`
starts it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time

import psutil

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
BEAT = 0.2


def main() -> int:
    """Keep one server until it ends, our owner does, or we are told to stop."""
    signals: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: signals.append(received))
    supervisor, owner = os.getpid(), os.getppid()
    line = _line()
    if not line:
        return 0
    what = json.loads(line)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    server = subprocess.Popen(
        what["command"],
        env=what["variables"],
        cwd=what["folder"],
        stdin=subprocess.DEVNULL,
        preexec_fn=lambda: _die_with(supervisor),
    )
    while server.poll() is None and not signals and _owned(owner):
        pass
    _end(server, what["grace"])
    code = server.wait()
    return code if code >= 0 else 128 - code


def _line() -> bytes:
    """The line that comes first; nothing if the owner ended before it was complete."""
    read = b""
    while not read.endswith(b"\n"):
        if not (more := os.read(0, 65536)):
            return b""
        read += more
    return read


def _owned(owner: int) -> bool:
    """Waits a beat; False once the owner has closed the pipe or is gone.

    The parent is looked at too: a fork of the owner could hold the pipe's other end open.
    """
    readable, _, _ = select.select([0], [], [], BEAT)
    return os.getppid() == owner and not (readable and not os.read(0, 1024))


def _end(server: subprocess.Popen[bytes], grace: float) -> None:
    """SIGTERM to the group, and SIGKILL to whatever the server leaves after `grace` seconds."""
    if server.poll() is None:
        os.killpg(0, signal.SIGTERM)  # us too, who take it as being told
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(grace)
    while left := psutil.Process().children(recursive=True):
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        _reap(server)
        time.sleep(0.02)


def _reap(server: subprocess.Popen[bytes]) -> None:
    """Collect the dead: the server first, which must not lose its exit code, then those that fell to us."""
    if server.poll() is not None:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _die_with(supervisor: int) -> None:
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:  # it died before the line above
        os._exit(1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main())
