"""A stub hub that this process's `huggingface_hub` asks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub import HubFolder, HubServer
from tests.hub.client import use_hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer(HubFolder(tmp_path / "hub")) as server:
        use_hub(monkeypatch, server.url)
        yield server
