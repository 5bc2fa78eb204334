"""Whether a recorded process is still running; process numbers are reused."""

from __future__ import annotations

import socket

import psutil

MARK = "faq/process"
"""Tag of a run in `faq`'s own process: `host:pid:second of its birth`."""


def own_mark() -> str:
    """The mark of this process."""
    me = psutil.Process()
    return f"{socket.gethostname()}:{me.pid}:{int(me.create_time())}"


def mark_is_dead(mark: str) -> bool:
    """Whether the marked process is known to be gone; of another host's nothing is known."""
    host, _, process = mark.partition(":")
    if host != socket.gethostname():
        return False
    pid, born = map(int, process.split(":"))
    return not is_alive(pid, born)


def is_alive(pid: int, then: float) -> bool:
    """Whether the process that had this number at that time (seconds since 1970) still runs.

    One that was born later is another; one that ended and that nobody has asked about is not alive.
    """
    try:
        process = psutil.Process(pid)
        return process.create_time() <= then + 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
