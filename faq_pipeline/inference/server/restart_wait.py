"""Waits until a managed server is up again: once for all requests that failed with it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable

from faq_pipeline.inference.client.load_balancer import LoadBalancer, Peer


class RestartWait:
    """Calls what blocks until the server is up, in a thread, never twice at a time."""

    def __init__(self, alive: Callable[[], None], balance: LoadBalancer) -> None:
        self._alive, self._balance = alive, balance
        self._pending: asyncio.Future[None] | None = None

    async def wait(self, peer: Peer) -> None:
        """Return when the server is up; nothing is sent to it meanwhile.

        Raises:
            Exception: what `alive` raises, for the first that waits: that is to end everything.
        """
        if self._pending is not None:
            await asyncio.wait([self._pending])
            return
        self._balance.hold(peer)
        self._pending = _in_thread(self._alive)
        try:
            await self._pending
        finally:
            self._pending = None
            self._balance.free(peer)


def _in_thread(function: Callable[[], None]) -> asyncio.Future[None]:
    """Run what blocks in a thread of its own, a daemon: nobody waits for it when work is given up."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    def run() -> None:
        error: BaseException | None = None
        try:
            function()
        except BaseException as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=run, name="faq-revival", daemon=True).start()
    return future
