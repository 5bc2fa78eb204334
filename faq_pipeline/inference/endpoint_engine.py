"""The engine `endpoint`: the user's own OpenAI-compatible servers (vLLM, SGLang and others)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from faq_pipeline.config.endpoint import Endpoint
from faq_pipeline.config.recipe import Sampling
from faq_pipeline.inference.client.client import Client
from faq_pipeline.inference.client.server_address import server_addresses
from faq_pipeline.inference.engine import Completion, Request, Unit
from faq_pipeline.models.weights import Weights

IN_FLIGHT = 1024
"""Requests in flight over all servers. They are sent fewer when they reject requests or slow down."""

TIMEOUT = 1800.0
"""Seconds for one request, the wait in the server's queue included."""


@dataclass
class EndpointEngine:
    """The teacher as the endpoint serves it. Each request is sampled for itself, by its own seed.

    The user must make sure that the endpoint serves the teacher's weights: the protocol tells only a
    name. The prompt is sent as text, rendered with the teacher's own chat template.
    """

    weights: Weights
    endpoint: Endpoint
    _client: Client | None = field(default=None, repr=False)

    @property
    def repeats(self) -> bool:
        """False: the servers' batching and rounding are not under our control."""
        return False

    def identity(self) -> dict[str, Any]:
        """The model's served name. URL and key do not affect samples and are left out."""
        return {"engine": "endpoint", "model": self.endpoint.model}

    def units(self, requests: Iterable[Request]) -> list[Unit]:
        """Every request for itself."""
        return [Unit((request,)) for request in requests]

    def __enter__(self) -> Self:
        client = Client(server_addresses(self.endpoint), self.endpoint.model, most=IN_FLIGHT, timeout=TIMEOUT)
        client.check()
        self._client = client
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._client is not None:
            self._client.__exit__(kind, error, trace)
            self._client = None

    def generate(self, units: Sequence[Unit], sampling: Sampling) -> Iterator[Completion]:
        """Completions as they finish."""
        if self._client is None:
            raise RuntimeError("the engine generates only inside its 'with' block")
        return self._client.complete((r for unit in units for r in unit.requests), sampling)

    def figures(self) -> dict[str, Any]:
        """Retries, rejections, errors and concurrency; the servers' GPUs are not known here."""
        return {} if self._client is None else {"gpus": None, **self._client.figures()}
