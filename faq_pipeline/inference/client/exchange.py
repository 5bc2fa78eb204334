"""One request and its answer, within bounds: of time for the whole answer, and of its bytes.

A server is not trusted: one that sends a byte now and then, or without end, is given up. Answers are
asked for uncompressed and refused if they are not: a kilobyte could hold a gigabyte.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import httpx2

from faq_pipeline.inference.client.failures import FaultyError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

LEAST_BYTES = 2**20
"""Bytes that an answer may have however few tokens it tells of."""
BYTES_A_TOKEN = 2**11
"""And for each token: its text, twice, and log-probabilities take up to a few hundred."""
UNCOMPRESSED = {"Accept-Encoding": "identity"}
"""Headers of every request."""

_limit: ContextVar[int] = ContextVar("bytes that the answer of the request under way may have")


async def exchange(
    api: AsyncOpenAI, path: str, body: dict[str, Any] | None = None, *, seconds: float, tokens: int = 0
) -> bytes:
    """The answer's bytes. Not through the client's typed methods: they cost more than all the rest.

    Args:
        api: made with `UNCOMPRESSED` and the hook `bound_answer`.
        body: of a POST; without it, it is a GET.
        seconds: from now to the answer's last byte.
        tokens: most tokens that the answer tells of.

    Raises:
        FaultyError: the answer is too late, too large or compressed.
        openai.APIError: the request failed otherwise.
    """
    token = _limit.set(LEAST_BYTES + BYTES_A_TOKEN * tokens)
    try:
        async with asyncio.timeout(seconds):
            if body is None:
                response = await api.get(path, cast_to=httpx2.Response)
            else:
                response = await api.post(path, cast_to=httpx2.Response, body=body)
            return response.content
    except TimeoutError:
        raise FaultyError(f"no whole answer in {seconds:g} seconds") from None
    finally:
        _limit.reset(token)


async def bound_answer(response: httpx2.Response) -> None:
    """A hook that sees every response before its content is read."""
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise FaultyError("the answer is compressed, which was not asked for")
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    response.stream = _Bounded(response.stream, _limit.get())


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, content: httpx2.AsyncByteStream, limit: int) -> None:
        self._content, self._limit = content, limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = 0
        async for chunk in self._content:
            read += len(chunk)
            if read > self._limit:
                raise FaultyError(f"the answer is longer than {self._limit:,} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._content.aclose()
