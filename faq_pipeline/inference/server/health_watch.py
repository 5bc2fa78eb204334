"""Watches one start of a server: its process and its `/health`.

A server is alive only if both are fine. vLLM's server exits with code 0 when one of its workers is
killed, so the exit code says nothing; and a hanging server still runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event

from faq_pipeline.inference.server.ports import ask_server
from faq_pipeline.inference.server.supervised_process import SupervisedProcess

BEAT = 0.5
"""Seconds between two looks at a server."""
DEAD = 503
"""vLLM's `/health` once its engine has failed."""


@dataclass(frozen=True)
class Term:
    """How one start of a server ended: the reason, and the seconds that it had served."""

    why: str
    served: float


def watch(
    process: SupervisedProcess,
    port: int,
    ending: Event,
    ready: Callable[[], None],
    *,
    patience: float,
    start_timeout: float,
) -> Term:
    """Return when the process has ended, stops answering, or `ending` is set.

    Args:
        ready: called once, when it answers first.
        patience: seconds without an answer that it is given once it is ready.
        start_timeout: and before.
    """
    good, since, limit = time.monotonic(), None, start_timeout
    while not ending.wait(BEAT):
        now = time.monotonic()
        served = now - since if since is not None else 0.0
        if (code := process.exit_code) is not None:
            return Term(
                f"ended {'while it served' if served else 'before it was ready'} (exit code {code})", served
            )
        status = _health(port, patience)
        if status == 200:
            good = time.monotonic()
            if since is None:
                since, limit = good, patience
                ready()
        elif status == DEAD and since is not None:
            return Term("says that its engine is dead", served)
        elif now - good > limit:
            return Term(f"did not answer for {limit:.0f} seconds", served)
    return Term("was told to end", 0.0)


def is_healthy(port: int, patience: float) -> bool:
    """Whether the server answers `/health` with success."""
    return _health(port, patience) == 200


def _health(port: int, patience: float) -> int:
    return ask_server(port, "/health", timeout=min(10.0, patience))[0]
