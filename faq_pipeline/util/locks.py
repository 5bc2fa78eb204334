"""Locks between processes and threads, held by the operating system: they die with their holder."""

from __future__ import annotations

import fcntl
import os
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Self

from faq_pipeline.util.atomic_files import make_folder, share_with_group

PAUSE = 0.05
"""Seconds between two attempts, where the wait has an end."""


_held: weakref.WeakSet[ProcessLock] = weakref.WeakSet()
"""Locks that this process holds."""


class LockTimeoutError(Exception):
    """Another holds the lock and did not give it back in time."""


class ProcessLock:
    """An exclusive lock on a file, which is made if need be and stays.

    The file may be another user's: whoever may read it may lock it. Not reentrant. A child made by
    `fork` does not hold it: it would keep the lock of a parent that was killed.
    """

    def __init__(self, path: Path, timeout: float | None = None) -> None:
        """
        Args:
            timeout: seconds that `with` waits for it; without end where None.
        """
        self.path, self._timeout = path, timeout
        self._handle: int | None = None

    def acquire(self, timeout: float | None = None) -> bool:
        """Take the lock.

        Args:
            timeout: seconds to wait for it; without end where None.

        Returns:
            Whether it was taken.

        Raises:
            OSError: the file can be neither made nor opened, or its file system has no locks.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            handle = _opened(self.path)
            try:
                taken = _taken(handle, wait=end is None)
            except BaseException:
                os.close(handle)
                raise
            if taken and os.fstat(handle).st_nlink:
                self._handle = handle
                _held.add(self)
                return True
            os.close(handle)  # held by another, or the file was deleted while it was waited for
            if end is not None and not taken:
                if time.monotonic() >= end:
                    return False
                time.sleep(PAUSE)

    @property
    def held(self) -> bool:
        """Whether this process holds it through this object."""
        return self._handle is not None

    def release(self) -> None:
        """Give the lock back."""
        handle, self._handle = self._handle, None
        _held.discard(self)
        if handle is not None:
            with suppress(OSError):  # closing it does the same, but for a fork's copy
                fcntl.flock(handle, fcntl.LOCK_UN)
            os.close(handle)

    def __enter__(self) -> Self:
        if not self.acquire(self._timeout):
            raise LockTimeoutError(str(self.path))
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock on this file, in this process or another.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be opened.
    """
    handle = _opened_existing(path)
    try:
        return not _taken(handle, wait=False)
    finally:
        os.close(handle)


def _let_go() -> None:
    """In a forked child: close the files of its parent's locks, which stay locked there."""
    for lock in list(_held):
        handle, lock._handle = lock._handle, None
        if handle is not None:
            os.close(handle)  # and no unlocking: that would unlock it in the parent
    _held.clear()


os.register_at_fork(after_in_child=_let_go)


def _opened(path: Path) -> int:
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except FileExistsError:
            with suppress(FileNotFoundError):  # deleted meanwhile
                return _opened_existing(path)
        except FileNotFoundError:
            make_folder(path.parent)
        else:
            share_with_group(path)
            return handle


def _opened_existing(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except PermissionError:  # another user's, made with another umask
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _taken(handle: int, wait: bool) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
