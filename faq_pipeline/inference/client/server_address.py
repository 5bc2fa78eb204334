"""Address and key of one OpenAI-compatible server."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from faq_pipeline.config.endpoint import Endpoint
from faq_pipeline.errors import FaqError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

CONNECT = 10.0
"""Seconds to wait for a connection."""
IDLE = 3.0
"""Seconds that an idle connection is kept: less than servers do (uvicorn: 5), so that none is closed
by the other side in the moment in which it is used again."""


@dataclass(frozen=True)
class ServerAddress:
    """A server.

    Attributes:
        key: the secret itself; never printed.
        key_name: the environment variable that it comes from.
    """

    base_url: str
    key: str | None = field(default=None, repr=False)
    key_name: str | None = None

    @property
    def name(self) -> str:
        """The URL for messages: without what might be secret in it."""
        parts = urlsplit(self.base_url)
        return SplitResult(parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "").geturl()

    def denied(self, problem: str) -> FaqError:
        """The error for a server that denies access."""
        hint = (
            f"check the key in the environment variable {self.key_name}"
            if self.key_name
            else "'key' of the endpoint names the environment variable that holds its key"
        )
        return FaqError(f"{self.name} denies access: {problem}", hint=hint)

    def open(self, most: int, timeout: float) -> AsyncOpenAI:
        """Its client, for `exchange`: no retries of its own, `most` connections.

        Args:
            timeout: seconds that the server may keep silent.
        """
        import httpx2
        import openai

        from faq_pipeline.inference.client.exchange import UNCOMPRESSED, bound_answer

        # aiohttp's transport, since a request costs a third of what it does with the default one,
        # which looks through all connections for each. It needs a number: for None it takes 100.
        limits = httpx2.Limits(max_connections=most, keepalive_expiry=IDLE)
        waits = httpx2.Timeout(timeout, connect=CONNECT, pool=None)
        http = openai.DefaultAioHttpClient(
            limits=limits,
            timeout=waits,
            trust_env=not _is_local(self.base_url),
            event_hooks={"response": [bound_answer]},
        )
        # Keys of other services that the environment may hold are none of this server's business.
        return openai.AsyncOpenAI(
            base_url=self.base_url,
            api_key=self.key or "none",
            admin_api_key="none",
            organization="",
            project="",
            max_retries=0,
            timeout=waits,
            default_headers=UNCOMPRESSED,
            http_client=http,
        )


def server_addresses(endpoint: Endpoint) -> list[ServerAddress]:
    """The servers of an endpoint, with their key read from the environment.

    Raises:
        FaqError: the environment variable is not set.
    """
    key = os.environ.get(endpoint.key) if endpoint.key else None
    if endpoint.key and not key:
        raise FaqError(
            f"the environment variable {endpoint.key} is not set",
            hint=f"the endpoint's 'key' names it: export {endpoint.key}=...",
        )
    return [ServerAddress(url.rstrip("/"), key, endpoint.key) for url in endpoint.base_urls]


def _is_local(url: str) -> bool:
    """Whether the server is on this machine, so that proxies of the environment do not apply."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
