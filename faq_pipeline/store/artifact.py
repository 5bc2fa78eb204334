"""A committed artifact: a folder with data and `manifest.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from faq_pipeline.util.memoize import memoized

MANIFEST = "manifest.json"


class FileEntry(BaseModel):
    """One file of an artifact."""

    model_config = ConfigDict(frozen=True)
    path: str
    bytes: int
    sha256: str


class Manifest(BaseModel):
    """What an artifact is, where it comes from and what it cost. Not part of the digest."""

    model_config = ConfigDict(frozen=True)
    stage: str
    stage_version: int
    fingerprint: str
    digest: str
    """Hash over the files' paths and hashes, measurements left out."""
    identity: dict[str, Any]
    inputs: dict[str, str]
    """Digest of each input artifact, by stage."""
    upstream: dict[str, str]
    """Fingerprint of each input artifact, by stage: where this one was made from."""
    files: list[FileEntry]
    metadata: dict[str, Any]
    created: str
    seconds: float


@dataclass(frozen=True)
class Artifact:
    """A committed artifact on disk."""

    path: Path

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest, read once."""
        return _read(self.path)

    @property
    def readable(self) -> bool:
        """Whether the manifest is there and whole; its files may yet be damaged (`Store.verify`)."""
        try:
            return bool(self.manifest)
        except (OSError, ValueError):  # not JSON, not UTF-8, or not a manifest
            return False

    @property
    def fingerprint(self) -> str:
        return self.manifest.fingerprint

    @property
    def digest(self) -> str:
        return self.manifest.digest

    @property
    def metadata(self) -> dict[str, Any]:
        return self.manifest.metadata

    def file(self, name: str) -> Path:
        """Path of one of its files."""
        return self.path / name


@memoized
def _read(folder: Path) -> Manifest:
    return Manifest.model_validate(json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
