"""Checkpoints to publish, places to publish them in, and a hub that the real client speaks to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from faq_pipeline.publishing.content import PublishedContent
from faq_pipeline.publishing.publish import Destinations, Publication, publish
from faq_pipeline.publishing.record import Records
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.fingerprint import short_hash
from faq_pipeline.store.store import Key, Store
from tests.publishing.stub_hub import StubHub

TOKEN = "hf_planted_writer_7c1d"
REPOSITORY = "acme/tiny-s-tiny-faq"


@dataclass(frozen=True)
class Site:
    """One installation, and what is published from it."""

    root: Path

    @property
    def store(self) -> Store:
        return Store(self.root / "store")

    @property
    def records(self) -> Records:
        return Records(self.root / "publications")

    @property
    def directory(self) -> Path:
        return self.root / "published/tiny-s/tiny-faq"

    def content(self, name: str, *, extra: str = "") -> PublishedContent:
        """A checkpoint of that name, ready to be published; `extra`: with this file more."""
        return content_of(make_checkpoint(self.store, name, extra=extra))

    def publish(
        self,
        content: PublishedContent,
        *,
        again: bool = False,
        repository: str | None = None,
        token: str | None = TOKEN,
    ) -> Publication:
        destinations = Destinations(self.directory, repository, token)
        return publish(content, destinations, self.records, again=again)

    def listed(self) -> set[str]:
        """What lies in the directory, hidden things too."""
        return {path.name for path in self.directory.glob("*")}

    @property
    def current(self) -> str | None:
        link = self.directory / "current"
        return str(link.readlink()) if link.is_symlink() else None


def make_checkpoint(store: Store, name: str, *, extra: str = "") -> Artifact:
    """An artifact that looks like a checkpoint; its bytes follow from its name."""

    def build(folder: Path) -> dict[str, Any]:
        for file in ("config.json", "model.safetensors", "tokenizer.json", *[extra] * bool(extra)):
            path = folder / "checkpoint" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(hashlib.sha256(f"{name} {file}".encode()).digest() * 999)
        (folder / "checkpoints.parquet").write_bytes(name.encode())
        return {}

    key = Key("quantized_checkpoint", 1, short_hash(name.encode()), {}, {}, {})
    return store.produce(key, build)[0]


def content_of(checkpoint: Artifact) -> PublishedContent:
    return PublishedContent("tiny-s@01234567|tiny-faq", checkpoint, "# card\n", {"digest": checkpoint.digest})


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StubHub]:
    """The hub, and this process's client pointed at it."""
    with StubHub(TOKEN) as running:
        point_at(running, monkeypatch)
        yield running


def point_at(hub: StubHub, patch: pytest.MonkeyPatch) -> None:
    """The client reads its environment when it is imported, and tests import it offline."""
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "ENDPOINT", hub.url)
    patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    patch.setenv("HF_TOKEN", "hf_planted_reader_0b52")
    patch.setenv("FAQ_HUB_WRITE_TOKEN", hub.token)
