"""Replaces an attribute of a foreign library for a while, where the library has no option for it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def replaced_attribute(owner: object, name: str, value: object) -> Iterator[None]:
    """Set `owner.name` to `value` within the block, for all threads.

    Raises:
        AttributeError: `owner` has no such attribute, as after an upgrade of its library.
    """
    before = inspect.getattr_static(owner, name)  # the descriptor itself, of a class method
    own = name in vars(owner)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, before)
        else:  # a method of an object's class, or an attribute of a base class
            delattr(owner, name)
