"""Sends jobs to servers from one event loop: bounded, paced, retried, each answered exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from faq_pipeline.errors import FaqError
from faq_pipeline.inference.client.async_bridge import Outlet
from faq_pipeline.inference.client.failures import (
    DeniedError,
    PassingError,
    RefusedError,
    RejectedError,
    UnknownError,
    failure_of,
)
from faq_pipeline.inference.client.load_balancer import LoadBalancer, Peer, Slot
from faq_pipeline.inference.server.restart_wait import RestartWait

Result = TypeVar("Result")


@dataclass(frozen=True)
class Job(Generic[Result]):
    """One request and how to read what comes back.

    Attributes:
        read: the result and its tokens, from the answer's bytes; raises pydantic's ValidationError
            or FaultyError where they are of no use.
        tokens: most tokens that the answer may tell of.
        refused: the result where there is no answer, from the reason.
    """

    id: str
    path: str
    body: dict[str, Any]
    read: Callable[[bytes], tuple[Result, int]]
    refused: Callable[[str], Result]
    tokens: int


@dataclass
class Figures:
    """Counters of the requests: retries, 429 responses, requests without an answer."""

    retries: int = 0
    rejected: int = 0
    errors: int = 0
    largest_concurrency: int = 0
    """Most requests that were in flight at one time."""


@dataclass
class _Spent:
    """Failed attempts of one request."""

    tries: int = 0
    rejections: int = 0


class Dispatcher:
    """Works through jobs with as many workers as may be in flight at most."""

    def __init__(
        self, balance: LoadBalancer, figures: Figures, alive: Callable[[], None] | None, timeout: float
    ) -> None:
        """
        Args:
            timeout: seconds for a whole answer.
        """
        self._balance, self._figures, self._timeout = balance, figures, timeout
        self._revival = None if alive is None else RestartWait(alive, balance)
        patience = balance.patience
        self._retrying = AsyncRetrying(
            retry=retry_if_exception_type(PassingError),
            wait=wait_random_exponential(multiplier=patience.first, max=patience.longest / 2),
            stop=self._spent,
            reraise=True,
        )

    async def run(self, jobs: Iterator[Job[Result]], outlet: Outlet[Result], workers: int) -> None:
        """Answer all jobs into `outlet`, in the order in which they finish.

        Raises:
            FaqError: no server is left, or one denies access or knows no such model.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(self._work(jobs, outlet))
                    # Otherwise the first request would be sent only after the last one was prepared.
                    await asyncio.sleep(0)
        except BaseExceptionGroup as errors:
            raise _first(errors) from None
        finally:
            figures = self._figures
            figures.largest_concurrency = max(figures.largest_concurrency, self._balance.largest)

    async def _work(self, jobs: Iterator[Job[Result]], outlet: Outlet[Result]) -> None:
        while True:
            await outlet.room()
            job = next(jobs, None)
            if job is None:
                return
            outlet.put(await self._answer(job))

    async def _answer(self, job: Job[Result]) -> Result:
        spent = _Spent()
        try:
            # A copy for each: an AsyncRetrying keeps the state of its current step in itself.
            return await self._retrying.copy()(self._attempt, job, spent)
        except RefusedError as error:
            problem = str(error)
        except RejectedError as error:
            raise FaqError(f"the server rejects requests: {error}", hint="try again later") from None
        except PassingError as error:
            problem = f"{error} (tried {spent.tries + spent.rejections} times)"
        self._figures.errors += 1
        return job.refused(problem)

    async def _attempt(self, job: Job[Result], spent: _Spent) -> Result:
        self._figures.retries += spent != _Spent()
        slot = await self._balance.slot()
        try:
            result, tokens = job.read(await self._post(slot.peer, job))
        except Exception as error:
            failure = failure_of(error, slot.peer.target.key)
            if failure is None:
                raise
            if isinstance(failure, RejectedError):
                spent.rejections += 1
            else:
                spent.tries += 1
            await self._note(slot, job, failure)
            raise failure from None
        else:
            self._balance.succeeded(slot, tokens)
            return result
        finally:
            self._balance.release(slot)

    async def _post(self, peer: Peer, job: Job[Any]) -> bytes:
        from faq_pipeline.inference.client.exchange import exchange

        return await exchange(peer.api, job.path, job.body, seconds=self._timeout, tokens=job.tokens)

    async def _note(self, slot: Slot, job: Job[Any], failure: Exception) -> None:
        """Report the failure to the load balancer; raise if no server can answer any more."""
        name = slot.peer.target.name
        if isinstance(failure, RejectedError):
            self._figures.rejected += 1
            self._balance.rejected(slot, failure.pause)
        elif isinstance(failure, PassingError):
            self._balance.failed(slot, job.id, failure)
            if self._balance.all_gone():
                self._give_up(failure)
            if self._revival is not None:
                await self._revival.wait(slot.peer)
        elif isinstance(failure, DeniedError):
            raise slot.peer.target.denied(str(failure)) from None
        elif isinstance(failure, UnknownError):
            raise FaqError(
                f"{name} does not serve this: {failure}", hint="check base_urls and model"
            ) from None
        else:
            self._balance.succeeded(slot, 0)

    def _give_up(self, failure: PassingError) -> NoReturn:
        names = ", ".join(peer.target.name for peer in self._balance.peers)
        raise FaqError(
            f"no answer from {names} after {self._balance.patience.tries} tries: {failure}",
            hint="what was finished is kept; run again when the server is well",
        ) from None

    def _spent(self, state: RetryCallState) -> bool:
        spent: _Spent = state.args[1]
        patience = self._balance.patience
        return spent.tries >= patience.tries or spent.rejections >= patience.rejections


def _first(errors: BaseExceptionGroup[Any]) -> BaseException:
    """The exception to raise out of several: preferably one meant for the user."""
    found = errors.exceptions
    return next((error for error in found if isinstance(error, FaqError)), found[0])
