"""Failures of one request, classified by how to react to them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from pydantic import ValidationError

LONGEST_PAUSE = 600.0
"""Seconds: a server that asks for a longer pause is asked again after this one."""
ONE_LINE = 300
"""Characters of a server's message that are kept."""


class PassingError(Exception):
    """Transient: retry after at least `pause` seconds."""

    def __init__(self, problem: str, pause: float = 0.0) -> None:
        super().__init__(problem)
        self.pause = pause


class LostError(PassingError):
    """No connection, or it broke before the answer was complete."""


class FaultyError(PassingError):
    """The server has a fault (5xx), did not answer in time, or its answer is of no use."""


class RejectedError(PassingError):
    """The server is overloaded (429)."""


class RefusedError(Exception):
    """The server will never answer this request: too long, malformed."""


class DeniedError(Exception):
    """The server answers nobody without the right key (401, 403)."""


class UnknownError(Exception):
    """The server knows no such model, or no such path (404)."""


def failure_of(error: Exception, secret: str | None = None) -> Exception | None:
    """Classify an exception of the OpenAI client or of reading an answer.

    None if the exception is not about the server: it is a bug and is raised as it is.

    Args:
        secret: taken out of what the server says; some repeat the key that they refuse.
    """
    import aiohttp
    import openai

    if isinstance(error, PassingError):
        return error
    if isinstance(error, openai.APIStatusError):
        pause = retry_after(error.response.headers)
        return _status_failure(error.status_code, one_line(error.message, secret), pause)
    if isinstance(error, openai.APIConnectionError | aiohttp.ClientError):
        return _broken(_root(error))
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        where = "".join(f"{part}: " for part in [".".join(map(str, first["loc"]))] if part)
        return FaultyError(one_line(f"not a valid answer: {where}{first['msg']}"))
    return None


def _root(error: BaseException) -> BaseException:
    return error if error.__cause__ is None else _root(error.__cause__)


def _broken(cause: BaseException) -> Exception:
    """By the first cause: the layers between name a connection that is refused or breaks a timeout."""
    import aiohttp

    if isinstance(cause, PassingError):  # raised while the answer was read
        return cause
    if isinstance(cause, aiohttp.SocketTimeoutError):
        return FaultyError("no answer in time")
    return LostError(one_line(f"connection lost: {str(cause) or type(cause).__name__}"))


def _status_failure(status: int, problem: str, pause: float) -> Exception:
    if status == 429:
        return RejectedError(problem, pause)
    if status >= 500 or status in (408, 409, 425):
        return FaultyError(problem, pause)
    if status in (401, 403):
        return DeniedError(problem)
    return UnknownError(problem) if status == 404 else RefusedError(problem)


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that a server asks to wait, by `Retry-After`: a number of them or a date; else 0."""
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return 0.0
    return min(max(seconds, 0.0), LONGEST_PAUSE) if seconds == seconds else 0.0  # NaN is a float too


def one_line(text: str, secret: str | None = None) -> str:
    """A message of a server as one line of bearable length, without the secret."""
    line = " ".join((text.replace(secret, "***") if secret else text).split())
    return line if len(line) <= ONE_LINE else line[: ONE_LINE - 1] + "…"
