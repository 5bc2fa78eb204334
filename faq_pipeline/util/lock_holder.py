"""Who holds a lock (on a GPU, a run, an artifact in the making): shown to processes that wait for it."""

from __future__ import annotations

import getpass
import multiprocessing
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ValidationError


class Holder(BaseModel):
    """Who holds a lock, as written beside it.

    Attributes:
        what: the stage and its cell.
        run: Dagster's run, where there is one.
        since: ISO 8601, in UTC.
        free: bytes that were free on the GPU before the holder took any; None where not known.
        parent: the process whose worker it is, if it is one.
    """

    pid: int
    host: str
    user: str
    what: str
    run: str = ""
    since: str
    free: int | None = None
    parent: int | None = None

    @classmethod
    def this_process(cls, what: str, run: str = "") -> Holder:
        """This process, from now on."""
        parent = multiprocessing.parent_process()
        return cls(
            pid=os.getpid(),
            host=socket.gethostname(),
            user=_user(),
            what=what,
            run=run,
            since=datetime.now(UTC).isoformat(timespec="seconds"),
            parent=None if parent is None else parent.pid,
        )

    def is_sibling(self, other: Holder) -> bool:
        """Whether both are workers of one process."""
        return self.parent is not None and (self.host, self.parent) == (other.host, other.parent)

    def __str__(self) -> str:
        run = f", run {self.run[:8]}" if self.run else ""
        return f"pid {self.pid} of {self.user} on {self.host}{run} since {self.since}: {self.what}"

    def write(self, path: Path) -> None:
        """Write it to `path`, whoever made that file.

        Written in place: in a folder like /tmp no user may rename a file over another user's. The
        lock allows one writer at a time, and readers accept an incomplete file.
        """
        _overwrite(path, self.model_dump_json())

    @classmethod
    def read(cls, path: Path) -> Holder | None:
        """Who is written there; None where nobody is, or it cannot be read."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            return None


def forget(path: Path) -> None:
    """Clear the file. A killed holder cannot do this, so what remains there shows that it was killed."""
    _overwrite(path, "")


def _overwrite(path: Path, text: str) -> None:
    flags = os.O_WRONLY | os.O_NOFOLLOW
    try:
        file = os.open(path, flags)
    except FileNotFoundError:
        file = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
        os.fchmod(file, 0o666)  # whatever the umask: the next holder may be another user
    try:
        os.ftruncate(file, 0)
        os.write(file, text.encode())
    finally:
        os.close(file)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an id without a name, as in many containers
        return str(os.getuid())
