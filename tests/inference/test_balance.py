from __future__ import annotations

import asyncio
import time
from typing import Any

from faq_pipeline.inference.client.concurrency import ConcurrencyControl
from faq_pipeline.inference.client.failures import FaultyError, LostError
from faq_pipeline.inference.client.load_balancer import LoadBalancer, Peer, RetryPolicy
from faq_pipeline.inference.client.server_address import ServerAddress

API: Any = None
PATIENCE = RetryPolicy(tries=3, first=0.05, longest=0.2)


def balance(*names: str, most: int = 4) -> LoadBalancer:
    return LoadBalancer(
        [Peer(ServerAddress(name), API, ConcurrencyControl(most)) for name in names], most, PATIENCE
    )


def test_a_rest_that_ends_unnoticed_keeps_nobody_waiting():
    """A request that comes when a rest has ended, and before the loop has noticed, takes no alarm away."""

    async def scenario() -> None:
        at = balance("one")
        for _ in range(2):
            slot = await at.slot()
            at.failed(slot, "r", FaultyError("500"))
            at.release(slot)
        waiting = asyncio.create_task(at.slot())
        await asyncio.sleep(0)
        assert not waiting.done()
        time.sleep(0.1)  # the loop is busy: the alarm is due and has not rung
        other = asyncio.create_task(at.slot())
        at.release(await asyncio.wait_for(waiting, 2))
        at.release(await asyncio.wait_for(other, 2))

    asyncio.run(scenario())


def test_a_server_in_trouble_gets_one_request_as_a_trial():
    async def scenario() -> None:
        at = balance("one")
        for _ in range(2):
            slot = await at.slot()
            at.failed(slot, "r", FaultyError("500"))
            at.release(slot)
        trial = await at.slot()
        others = [asyncio.create_task(at.slot()) for _ in range(3)]
        await asyncio.sleep(0.2)
        assert not any(other.done() for other in others)
        at.succeeded(trial, 5)
        at.release(trial)
        await asyncio.wait_for(asyncio.gather(*others), 2)

    asyncio.run(scenario())


def test_many_requests_that_are_lost_together_are_one_failure():
    async def scenario() -> None:
        at = balance("one")
        slots = [await at.slot() for _ in range(4)]
        for slot in slots:
            at.failed(slot, "r", LostError("reset"))
            at.release(slot)
        assert at.peers[0].failures == 1 and not at.all_gone()

    asyncio.run(scenario())


def test_the_least_busy_server_is_next():
    async def scenario() -> None:
        at = balance("one", "other", most=6)
        at.peers[0].pace.rejected(0)
        names = [(await at.slot()).peer.target.base_url for _ in range(6)]
        assert names.count("one") == 2 and names.count("other") == 4

    asyncio.run(scenario())
