"""The engine protocol: requests in, finished samples streamed out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from faq_pipeline.config.recipe import Sampling

if TYPE_CHECKING:
    from faq_pipeline.inference.server.server import Server


@dataclass(frozen=True)
class Request:
    """A text to continue. `seed` determines the sample as far as the engine can guarantee it."""

    id: str
    prompt: str
    seed: int


@dataclass(frozen=True)
class Unit:
    """Requests that are sampled, recorded and resumed together.

    Attributes:
        salt: what a sample of the unit depends on besides its own request; empty if each request is
            sampled independently.
    """

    requests: tuple[Request, ...]
    salt: str = ""


@dataclass(frozen=True)
class Completion:
    """A finished sample.

    Attributes:
        text: the raw continuation without the end mark; marks of thinking stay.
        tokens: sampled tokens, the end mark included.
        logprob: their summed log-probability (nats) under the model's own distribution, that is at
            temperature 1 and before any truncation of it; None where the engine cannot tell.
        finish: `stop` at an end mark, `length` at the limit, `error` where there is no sample.
        error: why there is none, in one line.
    """

    request_id: str
    text: str
    tokens: int
    logprob: float | None
    finish: Literal["stop", "length", "error"]
    error: str = ""


class Engine(Protocol):
    """Samples from one model, which is loaded only between `__enter__` and `__exit__`."""

    @property
    def repeats(self) -> bool:
        """Whether equal units give equal bytes."""

    def identity(self) -> dict[str, Any]:
        """Fingerprint inputs of the engine (JSON-able); must not load a model library."""

    def units(self, requests: Iterable[Request]) -> list[Unit]:
        """The requests as units. Equal requests give equal units; the model need not be in memory."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def generate(self, units: Sequence[Unit], sampling: Sampling) -> Iterator[Completion]:
        """One completion for each request of the units, in the order in which they finish.

        Prompt and `sampling.max_new_tokens` together must fit the model's context.
        """

    def figures(self) -> dict[str, Any]:
        """Counters since `__enter__`: `gpus`, and others that the engine provides."""


class ServedEngine(Engine, Protocol):
    """An engine with a server of its own, which runs between `__enter__` and `__exit__`."""

    @property
    def server(self) -> Server:
        """The server, for requests of other kinds; it exists inside the 'with' block only."""

    @property
    def context(self) -> int:
        """Most tokens of prompt and reply."""

    def echoes(self, prompts: Sequence[list[int]], most: int) -> Iterator[tuple[int, dict[str, Any] | str]]:
        """See `client.client.Client.echoes`."""

    def likelihoods(
        self, items: Sequence[tuple[list[int], list[int]]], advance: Callable[[int], None]
    ) -> list[float | None]:
        """Mean log-probability (nats) per reply token of (prompt, reply) pairs, in the order given.

        None where the server refuses a pair.
        """
