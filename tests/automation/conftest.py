"""One installation a test, with definitions of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from faq_pipeline.definitions import build_defs
from faq_pipeline.settings import Settings
from tests.automation.site import BILLION, Site, make_data
from tests.hub import HubFolder, HubServer
from tests.hub.client import use_hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer(HubFolder(tmp_path / "hub")) as server:
        use_hub(monkeypatch, server.url)
        yield server


@pytest.fixture
def pin(hub: HubServer) -> str:
    """The commit that the family's file names for acme/Ace-1B, which the hub has."""
    return hub.folder.add("acme/Ace-1B", parameters=BILLION)


@pytest.fixture
def site(
    hub: HubServer,
    pin: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Site]:
    data = make_data(tmp_path / "data", pin)
    for name, value in {"FAQ_HOME": tmp_path / "home", "FAQ_DATA": data, "FAQ_DEVICE": "cpu"}.items():
        monkeypatch.setenv(name, str(value))
    (tmp_path / "shipped/data/recipes").mkdir(parents=True)  # none of the families that ship: they take time
    monkeypatch.setattr("faq_pipeline.settings.REPOSITORY", tmp_path / "shipped")
    monkeypatch.setattr("faq_pipeline.models.device_memory.device_memory", lambda device: 10**15)
    with dg.instance_for_test() as instance:
        repository = build_defs(Settings.from_environment()).get_repository_def()
        yield Site(hub.folder, data, tmp_path / "home", instance, repository)
