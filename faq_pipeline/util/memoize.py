"""Answers that hold for a while: within `remembering()`, what was read of a file is not read again.

A plan of many cells asks for the same seeds, tasks and members in each of them. Outside of
`remembering()` nothing is kept, so that a long-lived process sees every change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_memory: ContextVar[dict[Any, Any] | None] = ContextVar("memory", default=None)


@contextmanager
def memoizing() -> Iterator[None]:
    """Let `memoized` functions answer once for the same arguments until the outermost one ends."""
    if _memory.get() is not None:
        yield
        return
    token = _memory.set({})
    try:
        yield
    finally:
        _memory.reset(token)


def memoized(function: Callable[P, T]) -> Callable[P, T]:
    """For a function whose arguments print all that tells them apart; errors are not kept."""

    @wraps(function)
    def ask(*args: P.args, **kwargs: P.kwargs) -> T:
        memory = _memory.get()
        if memory is None:
            return function(*args, **kwargs)
        key = (function, repr(args), repr(kwargs))
        if key not in memory:
            memory[key] = function(*args, **kwargs)
        answer: T = memory[key]
        return answer

    return ask
