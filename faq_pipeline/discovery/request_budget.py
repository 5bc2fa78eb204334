"""Limits of one discovery pass on the hub: number of requests, total time, and time per request.

`huggingface_hub` has no timeout for a listing, and sleeps as long as a busy hub tells it to. The next
pass comes soon, so a slow or busy hub ends this one at once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus

import httpx
from huggingface_hub import constants, set_client_factory
from huggingface_hub.errors import OfflineModeIsEnabled
from huggingface_hub.utils import hf_raise_for_status

MOST_REQUESTS = 100
MOST_SECONDS = 40.0
"""Dagster gives a sensor 60 seconds."""
PATIENCE = 10.0
"""Seconds that the hub may keep silent within one request."""
MOST_BYTES = 32 * 2**20
"""Of one answer. Answers are asked for uncompressed."""
SPENT = f"more than {MOST_REQUESTS} requests or {MOST_SECONDS:.0f} s"


class BudgetSpentError(Exception):
    """A discovery pass has used up its requests or its time, or an answer is too long."""


@dataclass
class _Budget:
    requests: int
    deadline: float

    @property
    def over(self) -> bool:
        return time.monotonic() > self.deadline


_BUDGET: ContextVar[_Budget | None] = ContextVar("budget of the look under way", default=None)


@contextmanager
def bounded() -> Iterator[None]:
    """Within it, this thread's calls of `huggingface_hub` are bounded, and none is tried again.

    They raise `BudgetSpentError` beyond the bounds, and `HfHubHTTPError` for whatever the hub refuses.
    """
    _use_our_client()
    token = _BUDGET.set(_Budget(MOST_REQUESTS, time.monotonic() + MOST_SECONDS))
    try:
        yield
    finally:
        _BUDGET.reset(token)


def requests_left() -> int:
    """How many requests the look under way may still make; 0 once its time is over."""
    budget = _BUDGET.get()
    return 0 if budget is None or budget.over else budget.requests


@cache
def _use_our_client() -> None:
    """For the whole process; outside `bounded` only its patience differs from the library's."""
    set_client_factory(_client)


def _client() -> httpx.Client:
    return httpx.Client(
        event_hooks={"request": [_spend], "response": [_bound, _refuse]},
        follow_redirects=True,
        timeout=PATIENCE,
    )


def _spend(request: httpx.Request) -> None:
    if constants.is_offline_mode():  # the library's own client has this check, too
        raise OfflineModeIsEnabled("HF_HUB_OFFLINE is set")
    budget = _BUDGET.get()
    if budget is None:
        return
    if not requests_left():
        raise BudgetSpentError(SPENT)
    budget.requests -= 1
    request.headers["Accept-Encoding"] = "identity"


def _bound(response: httpx.Response) -> None:
    """Bound the answer's length, and the time to its last byte."""
    budget = _BUDGET.get()
    if budget is None:
        return
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise BudgetSpentError("its answer is compressed, which was not asked for")
    assert isinstance(response.stream, httpx.SyncByteStream)
    response.stream = _Bounded(response.stream, budget)


class _Bounded(httpx.SyncByteStream):
    def __init__(self, content: httpx.SyncByteStream, budget: _Budget) -> None:
        self._content, self._budget = content, budget

    def __iter__(self) -> Iterator[bytes]:
        read = 0
        for chunk in self._content:
            read += len(chunk)
            if read > MOST_BYTES:
                raise BudgetSpentError(f"its answer is longer than {MOST_BYTES // 2**20} MiB")
            if self._budget.over:
                raise BudgetSpentError(SPENT)
            yield chunk

    def close(self) -> None:
        self._content.close()


def _refuse(response: httpx.Response) -> None:
    """Raise before the library goes to sleep over it."""
    busy = response.status_code == HTTPStatus.TOO_MANY_REQUESTS or response.is_server_error
    if busy and _BUDGET.get() is not None:
        response.read()
        hf_raise_for_status(response)
