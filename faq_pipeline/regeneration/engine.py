"""What an engine is: requests in, finished samples streamed out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from faq_pipeline.config.recipe import Sampling


@dataclass(frozen=True)
class Request:
    """A text to be continued. `seed` decides the sample, as far as the engine can promise it."""

    id: str
    prompt: str
    seed: int


@dataclass(frozen=True)
class Completion:
    """A finished sample.

    Attributes:
        text: the raw continuation without the end mark; marks of thinking stay.
        tokens: sampled tokens, the end mark included.
        logprob: their summed log-probability (nats) under the model's own distribution, that is at
            temperature 1 and before any truncation of it.
        finish: `stop` at an end mark, `length` at the limit.
    """

    request_id: str
    text: str
    tokens: int
    logprob: float
    finish: Literal["stop", "length"]


class Engine(Protocol):
    """Samples from one model. The model is in memory between `__enter__` and `__exit__` only."""

    def identity(self) -> dict[str, Any]:
        """What of the engine shapes its samples, JSON-able; asked without loading a model library."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def generate(self, requests: Iterable[Request], sampling: Sampling) -> Iterator[Completion]:
        """One completion for each request, in the order in which they finish.

        Prompt and `sampling.max_new_tokens` together must fit the model's context.
        """
