"""Progress reporting, independent of the listener (a terminal, Dagster's log, nobody)."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A listener to one stage's work."""

    def start(self, what: str, total: int) -> None:
        """A countable piece of work begins: `total` units of `what`."""

    def advance(self, done: int = 1) -> None:
        """`done` more units are finished."""

    def detail(self, text: str) -> None:
        """How the work under way goes, beside its count (its speed, say); replaces the last one."""

    def note(self, message: str) -> None:
        """Something a user should read: one line."""


class SilentProgress:
    """Listens to nothing."""

    def start(self, what: str, total: int) -> None:
        pass

    def advance(self, done: int = 1) -> None:
        pass

    def detail(self, text: str) -> None:
        pass

    def note(self, message: str) -> None:
        pass
