"""How long each block of layers takes, and how much memory of the process has no file behind it (Linux)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

STATUS = Path("/proc/self/status")
EVERY = 0.1
"""Seconds between two looks at the memory."""


def anonymous_bytes() -> int:
    """What no file backs: it leaves main memory for swap space alone. 0 where the system does not tell."""
    if not STATUS.exists():
        return 0
    fields = dict(line.split(":", 1) for line in STATUS.read_text(encoding="utf-8").splitlines())
    return 1024 * int(fields["RssAnon"].split()[0])


class Blocks:
    """A progress that keeps figures of each block.

    Attributes:
        seconds: that each block took.
        anonymous: bytes after each block, see `anonymous_bytes`.
        peak: the most that was seen while `watching`.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.anonymous: list[int] = []
        self.peak = 0
        self._last = 0.0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within it memory is looked at all the time."""
        ended = Event()

        def watch() -> None:
            while not ended.wait(EVERY):
                self.peak = max(self.peak, anonymous_bytes())

        thread = Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def start(self, what: str, total: int) -> None:
        """Blocks are about to be worked through."""
        self._last = time.perf_counter()

    def advance(self, done: int = 1) -> None:
        """A block is done."""
        now = time.perf_counter()
        self.seconds.append(round(now - self._last, 3))
        self.anonymous.append(anonymous_bytes())
        self._last = now

    def detail(self, text: str) -> None:
        """What is under way is not kept."""

    def note(self, message: str) -> None:
        """Print it."""
        print(message, flush=True)
