"""The engine `vllm`: serves a member with a vLLM server that runs only while it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from faq_pipeline.config.family import Serving
from faq_pipeline.config.recipe import Sampling
from faq_pipeline.inference.client.client import Client
from faq_pipeline.inference.client.server_address import ServerAddress
from faq_pipeline.inference.engine import Completion, Request, Unit
from faq_pipeline.inference.environment.environment import engine_identity, find_environment
from faq_pipeline.inference.server.server import Server
from faq_pipeline.models.cpu_threads import threads_for
from faq_pipeline.models.device import compute_identity
from faq_pipeline.models.precision import Precision
from faq_pipeline.models.weights import Weights

IN_FLIGHT = 2048
"""Requests that the server may hold a copy: beyond what a copy runs at once, so that none waits for one."""

DTYPE: Precision = "bfloat16"

TIMEOUT = 3600.0
"""Seconds for one request, the wait in the server's queue included."""


@dataclass
class VllmEngine:
    """One member behind vLLM's server. Each request has its own seed.

    It serves in bf16 on every processor. vLLM schedules requests into batches as they come, and another
    batch may round otherwise: keys repeat, bytes need not.
    """

    weights: Weights
    device: str
    serving: Serving
    _stack: ExitStack = field(default_factory=ExitStack, repr=False)
    _server: Server | None = field(default=None, repr=False)
    _client: Client | None = field(default=None, repr=False)

    @property
    def repeats(self) -> bool:
        """False: see the class."""
        return False

    def identity(self) -> dict[str, Any]:
        """vLLM's version and build, the device, and how the layers are spread; without loading anything."""
        return {
            "engine": "vllm",
            **engine_identity(self.device),
            "dtype": DTYPE,
            **compute_identity(self.weights.member, self.device, DTYPE),
            "tensor_parallel": self.serving.tensor_parallel,
            "pipeline_parallel": self.serving.pipeline_parallel,
            "arguments": self.serving.arguments,
        }

    def units(self, requests: Iterable[Request]) -> list[Unit]:
        """Every request for itself."""
        return [Unit((request,)) for request in requests]

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            member = self.weights.member
            self._server = stack.enter_context(
                Server(
                    find_environment(self.device),
                    self.weights.folder,
                    member.name,
                    self.serving,
                    self.device,
                    trust_remote_code=member.trust_remote_code,
                    threads=threads_for(member, self.device, DTYPE),
                )
            )
            self._server.wait_ready()
            self._client = stack.enter_context(
                Client(
                    [ServerAddress(self._server.base_url, self._server.key)],
                    self._server.name,
                    most=IN_FLIGHT * self.serving.data_parallel,
                    timeout=TIMEOUT,
                    alive=self._server.wait_ready,
                )
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server = self._client = None
        self._stack.__exit__(kind, error, trace)

    @property
    def context(self) -> int:
        """Most tokens of prompt and reply."""
        return self.serving.context or self.weights.context

    @property
    def server(self) -> Server:
        """The server, for who has other requests to it; there is one inside the 'with' block only."""
        if self._server is None:
            raise RuntimeError("the engine has a server only inside its 'with' block")
        return self._server

    def generate(self, units: Sequence[Unit], sampling: Sampling) -> Iterator[Completion]:
        """Completions as they finish."""
        requests = (request for unit in units for request in unit.requests)
        return self._ready().complete(requests, sampling)

    def likelihoods(
        self, items: Sequence[tuple[list[int], list[int]]], advance: Callable[[int], None]
    ) -> list[float | None]:
        """Mean log-probability (nats) per reply token of (prompt, reply) pairs, in the order given.

        None where the server refuses a pair.
        """
        means: list[float | None] = [None] * len(items)
        for index, mean in self._ready().prompt_logprobs(items):
            means[index] = mean
            advance(1)
        return means

    def echoes(self, prompts: Sequence[list[int]], most: int) -> Iterator[tuple[int, dict[str, Any] | str]]:
        """See `Client.echoes`."""
        return self._ready().echoes(prompts, most)

    def figures(self) -> dict[str, Any]:
        """GPUs, prefix-cache hits, restarts of the server and retries of requests."""
        if self._server is None or self._client is None:
            return {}
        return {
            "gpus": 0 if self.device == "cpu" else self.serving.gpus,
            "prefix_cache_hit_rate": self._server.metrics().prefix_cache_hit_rate,
            "restarts": self._server.restarts_used,
            **self._client.figures(),
        }

    def _ready(self) -> Client:
        if self._client is None:
            raise RuntimeError("the engine works only inside its 'with' block")
        return self._client
