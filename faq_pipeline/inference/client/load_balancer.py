"""Chooses the server of the next request: the least busy one that is healthy and has room."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from faq_pipeline.inference.client.concurrency import ConcurrencyControl
from faq_pipeline.inference.client.failures import LostError, PassingError
from faq_pipeline.inference.client.server_address import ServerAddress

if TYPE_CHECKING:
    from openai import AsyncOpenAI


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how long to retry. The defaults give a dead server about two minutes.

    Attributes:
        tries: for one request, and for a server from which nothing good comes in between.
        rejections: for one request, of the kind "too many requests".
        first: seconds of rest after a server's second failure in a row (the first may be a broken
            connection); doubles with each.
        longest: seconds of the longest rest.
    """

    tries: int = 10
    rejections: int = 60
    first: float = 0.5
    longest: float = 60.0

    def rest(self, failures: int) -> float:
        """Seconds without requests to a server after this many failures in a row."""
        return 0.0 if failures < 2 else min(self.longest, self.first * 2.0 ** (failures - 2))


@dataclass
class Peer:
    """One server: its client, its concurrency limit, and its recent successes and failures."""

    target: ServerAddress
    api: AsyncOpenAI
    pace: ConcurrencyControl
    in_flight: int = 0
    answered: bool = False
    failures: int = 0
    """In a row. Those of requests sent before the last counted one are one and the same failure."""
    era: int = 0
    troubled: set[str] = field(default_factory=set)
    lost: bool = False
    resting_until: float = 0.0
    paused_until: float = 0.0

    def room(self, now: float) -> bool:
        """Whether it may be sent a request now; a server that has failed twice gets one as a trial."""
        limit = 1 if self.failures > 1 else self.pace.limit
        return self.in_flight < limit and now >= max(self.resting_until, self.paused_until)

    def gone(self, patience: RetryPolicy) -> bool:
        """Whether to stop using it. A few failures of a server that answers other requests do not count."""
        certain = self.lost or not self.answered or len(self.troubled) >= patience.tries
        return self.failures >= patience.tries and certain


@dataclass(frozen=True)
class Slot:
    """Permission to send one request to one server, with the server's state when it was granted."""

    peer: Peer
    era: int
    pace_era: int
    full: bool
    since: float


class LoadBalancer:
    """Hands out slots, first come, first served. Lives in one event loop."""

    def __init__(self, peers: Sequence[Peer], most: int, patience: RetryPolicy) -> None:
        self.peers, self.patience, self._most = peers, patience, most
        self.largest = 0
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[Slot]] = deque()
        self._loop = asyncio.get_running_loop()
        self._alarm: asyncio.TimerHandle | None = None

    async def slot(self) -> Slot:
        """Wait for leave to send a request."""
        future: asyncio.Future[Slot] = self._loop.create_future()
        self._waiting.append(future)
        self._wake()
        return await future

    def release(self, slot: Slot) -> None:
        """The request has come to its end. To be told after what it came to."""
        slot.peer.in_flight -= 1
        self._in_flight -= 1
        self._wake()

    def succeeded(self, slot: Slot, tokens: int) -> None:
        """The server gave a good answer, or a good reason for none."""
        peer = slot.peer
        peer.answered, peer.lost, peer.failures, peer.resting_until = True, False, 0, 0.0
        peer.troubled.clear()
        if tokens:
            seconds = self._loop.time() - slot.since
            peer.pace.succeeded(slot.pace_era, seconds, tokens, full=slot.full)

    def rejected(self, slot: Slot, pause: float) -> None:
        """The server has too much to do."""
        slot.peer.paused_until = max(slot.peer.paused_until, self._loop.time() + pause)
        slot.peer.pace.rejected(slot.pace_era)

    def failed(self, slot: Slot, request_id: str, failure: PassingError) -> None:
        """The server failed."""
        peer, now = slot.peer, self._loop.time()
        peer.paused_until = max(peer.paused_until, now + failure.pause)
        peer.troubled.add(request_id)
        if slot.era == peer.era:
            peer.era += 1
            peer.failures += 1
            peer.lost = isinstance(failure, LostError)
            peer.resting_until = now + self.patience.rest(peer.failures)

    def hold(self, peer: Peer) -> None:
        """Send nothing to a server until it is freed."""
        peer.paused_until = math.inf

    def free(self, peer: Peer) -> None:
        """A server is up again."""
        peer.paused_until = peer.resting_until = 0.0
        self._wake()

    def all_gone(self) -> bool:
        """Whether there is no server left to hope for."""
        return all(peer.gone(self.patience) for peer in self.peers)

    def _next(self, now: float) -> Slot | None:
        free = [peer for peer in self.peers if peer.room(now)] if self._in_flight < self._most else []
        if not free:
            return None
        peer = min(free, key=lambda peer: (peer.in_flight + 1) / peer.pace.limit)
        peer.in_flight += 1
        self._in_flight += 1
        self.largest = max(self.largest, self._in_flight)
        full = peer.in_flight >= 0.9 * peer.pace.limit
        return Slot(peer, peer.era, peer.pace.era, full, now)

    def _wake(self) -> None:
        now = self._loop.time()
        while self._waiting:
            if self._waiting[0].cancelled():
                self._waiting.popleft()
            elif slot := self._next(now):
                self._waiting.popleft().set_result(slot)
            else:
                break
        self._set_alarm(now)

    def _set_alarm(self, now: float) -> None:
        """Look again when the first of the resting servers has rested, if somebody waits for it.

        Args:
            now: when it was last looked; a rest that has ended since then is still to be noticed.
        """
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        ends = [max(peer.resting_until, peer.paused_until) for peer in self.peers]
        if self._waiting and (later := [end for end in ends if now < end < math.inf]):
            self._alarm = self._loop.call_at(min(later), self._wake)
