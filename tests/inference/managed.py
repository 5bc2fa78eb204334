"""In the place of a managed server: another that runs already, and what became of it."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from faq_pipeline.inference.server.server_error import ServerFailedError
from tests.inference.fake_server import FakeServer


class Managed:
    """In the place of `serving.server.Server` of engine `vllm`; requests go to `running`.

    Attributes:
        events: `up` with the folder, `down`; others may add to them.
        waits: how often somebody waited for it.
        asked: what the last server was made for: environment, folder, name, serving, device.
        broken: the server says this instead of starting.
    """

    def __init__(self, running: FakeServer, patch: pytest.MonkeyPatch) -> None:
        self.running, self.broken = running, ""
        self.events: list[str] = []
        self.waits = 0
        self.asked: tuple[Any, ...] = ()
        patch.setattr("faq_pipeline.inference.vllm_engine.Server", self._server)
        patch.setattr("faq_pipeline.inference.vllm_engine.find_environment", lambda *_: None)

    def _server(self, *asked: Any, **_: Any) -> Managed:
        self.asked = asked
        return self

    def __enter__(self) -> Self:
        self.events.append(f"up {self.asked[1]}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.events.append("down")

    name = "fake"
    key = "sk-faq-managed"
    restarts_used = 0

    @property
    def base_url(self) -> str:
        return self.running.url

    def wait_ready(self, timeout: float | None = None) -> None:
        self.waits += 1
        if self.broken:
            raise ServerFailedError(self.broken, log=Path("vllm.log"), lines=["many", "lines"])
