"""Turns work of an asyncio event loop into an ordinary iterator: the loop runs in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")

FLUSH = 0.01
"""Seconds that a result may wait for others: handing each over by itself would have the two threads
take turns thousands of times a second."""


class Outlet(Generic[Item]):
    """Collects the results of the work. Used only in the loop's thread."""

    def __init__(self, results: queue.SimpleQueue[Any], ahead: int) -> None:
        self._results, self._ahead = results, ahead
        self._loop = asyncio.get_running_loop()
        self._batch: list[Item] = []
        self._timer: asyncio.TimerHandle | None = None
        self._untaken = 0
        self._room = asyncio.Event()
        self._room.set()

    def put(self, item: Item) -> None:
        """Hand a result to the iterator."""
        self._batch.append(item)
        self._untaken += 1
        if self._untaken >= self._ahead:
            self._room.clear()
        if self._timer is None:
            self._timer = self._loop.call_later(FLUSH, self.flush)

    async def room(self) -> None:
        """Wait until the consumer has caught up: results it has not taken are lost if the process dies."""
        if not self._room.is_set():
            await self._room.wait()

    def flush(self) -> None:
        """Hand over the buffered results."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._batch:
            self._results.put(self._batch)
            self._batch = []

    def taken(self, count: int) -> None:
        """The consumer has processed `count` more results."""
        self._untaken -= count
        if self._untaken < self._ahead:
            self._room.set()


Work = Callable[[Outlet[Item]], Coroutine[Any, Any, None]]


class _Runner(Generic[Item]):
    """The thread, its loop, and the work in it."""

    def __init__(self, work: Work[Item], ahead: int) -> None:
        self.results: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._work, self._ahead = work, ahead
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._outlet: Outlet[Item] | None = None
        self._started = threading.Event()
        # A daemon, so that a forgotten iterator cannot keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="faq-requests", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._started.wait()

    def taken(self, count: int) -> None:
        assert self._outlet is not None
        self._call(self._outlet.taken, count)

    def close(self) -> None:
        if self._task is not None:
            self._call(self._task.cancel)
        self._thread.join()

    def _call(self, function: Callable[..., object], *args: object) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(function, *args)

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            self.results.put(error)
        else:
            self.results.put(None)
        finally:
            self._started.set()

    async def _main(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        self._outlet = outlet = Outlet[Item](self.results, self._ahead)
        self._started.set()
        try:
            await self._work(outlet)
        finally:
            outlet.flush()


def iterate(work: Work[Item], *, ahead: int) -> Generator[Item]:
    """Yield the results that `work` puts into its outlet, as they arrive.

    An exception that ends the work is raised after the results that came before it. Closing the
    iterator early cancels the work and waits until its thread has ended.

    Args:
        ahead: results that may wait to be taken before `Outlet.room` blocks.
    """
    runner = _Runner(work, ahead)
    runner.start()
    try:
        while True:
            batch = runner.results.get()
            if batch is None:
                return
            if isinstance(batch, BaseException):
                raise batch
            yield from batch
            runner.taken(len(batch))
    finally:
        runner.close()
