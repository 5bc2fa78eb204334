"""Marks of processes: whether a recorded process is still running, whatever the clock and the host's name."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import psutil

PROC = Path("/proc")
ENDED = "ZX"
"""States of processes that have ended, though nobody has asked how."""


def own_mark() -> str:
    """The mark of this process: boot id, PID namespace, number, start in ticks since the boot.

    Numbers are reused, within a boot and in every PID namespace, but not with the same start. Empty on
    systems without Linux's /proc.
    """
    try:
        return ":".join([*_realm(), str(os.getpid()), _start(os.getpid())])
    except (OSError, ValueError):
        return ""


def mark_is_dead(mark: str) -> bool:
    """Whether the marked process is known to be gone.

    Nothing is known of a process of another boot (which may be another machine) or another PID
    namespace (another container).
    """
    parts = mark.split(":")
    if len(parts) == 3:
        return _old_mark_is_dead(parts)
    if len(parts) != 4 or not parts[2].isdigit():
        return False
    try:
        if _realm() != parts[:2]:
            return False
        return _start(int(parts[2])) != parts[3]
    except ProcessLookupError:
        return True
    except (OSError, ValueError):
        return False


def number_in_use(pid: int) -> bool:
    """Whether a process that can be seen from here has this number, in its own PID namespace or in ours."""
    if not PROC.is_dir():
        return psutil.pid_exists(pid)
    try:
        _start(pid)
        return True
    except ProcessLookupError:
        return any(pid in _numbers(folder) for folder in PROC.iterdir() if folder.name.isdigit())
    except (OSError, ValueError):
        return True


def _old_mark_is_dead(parts: list[str]) -> bool:
    """Of a mark as earlier versions wrote it, `host:pid:second of its birth`.

    Only that nobody has the number counts: the second depends on the clock.
    """
    host, pid, _ = parts
    return host == socket.gethostname() and pid.isdigit() and not number_in_use(int(pid))


def _realm() -> list[str]:
    """Where numbers and ticks mean the same: boot id and PID namespace."""
    boot = (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return [boot, str((PROC / "self/ns/pid").stat().st_ino)]


def _start(pid: int) -> str:
    """When a process was started, in ticks since the boot.

    Raises:
        ProcessLookupError: there is none, or it has ended.
    """
    try:
        stat = (PROC / f"{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessLookupError(pid) from None
    fields = stat.rpartition(")")[2].split()  # after the name, which may hold anything
    if fields[0] in ENDED:
        raise ProcessLookupError(pid)
    return fields[19]


def _numbers(folder: Path) -> list[int]:
    """The numbers of a live process in its PID namespace and those above it that can be seen from here."""
    try:
        text = (folder / "status").read_text(encoding="utf-8", errors="replace")
    except OSError:  # it has just ended
        return []
    fields = {name: rest.split() for name, _, rest in (line.partition(":") for line in text.splitlines())}
    if fields.get("State", [ENDED[0]])[0] in ENDED:
        return []
    return [int(number) for number in fields.get("NSpid", [])]
