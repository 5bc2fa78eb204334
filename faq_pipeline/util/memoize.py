"""Memoization with a scope: within `memoizing()`, a memoized function is called once per arguments.

A plan of many cells needs the same seeds, tasks and members in each of them. Outside `memoizing()`
nothing is kept, so that a long-lived process sees every change of a file.
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
    """Cache the results of `memoized` functions until the outermost `memoizing()` block ends."""
    if _memory.get() is not None:
        yield
        return
    token = _memory.set({})
    try:
        yield
    finally:
        _memory.reset(token)


def memoized(function: Callable[P, T]) -> Callable[P, T]:
    """Decorator for a function whose arguments differ in their repr; errors are not cached."""

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
