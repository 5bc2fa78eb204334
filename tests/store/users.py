"""Acting as another user, where the tests run as root."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")

GROUP = 4321
"""A group that no user of the system is in."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may act as another user")


def as_user(user: int, act: Callable[[], T], *, group: int = GROUP, umask: int = 0o022) -> T:
    """What `act` returns in a process of that user."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(group)
            os.setuid(user)
            os.umask(umask)
            answer = pickle.dumps((act(), ""))
        except BaseException:
            answer = pickle.dumps((None, traceback.format_exc()))
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(answer)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        returned, trace = pickle.loads(pipe.read())
    os.waitpid(child, 0)
    assert not trace, trace
    found: T = returned
    return found
