"""A committed artifact: a folder with data and `manifest.json`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from faq_pipeline.errors import reading_file
from faq_pipeline.store.manifest import MANIFEST, FileEntry, Manifest, parsed
from faq_pipeline.util.files import ABSENT
from faq_pipeline.util.memoize import memoized

__all__ = ["MANIFEST", "Artifact", "FileEntry", "Manifest", "read_manifest"]


@dataclass(frozen=True)
class Artifact:
    """A committed artifact on disk."""

    path: Path

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest, read once.

        Raises:
            FileNotFoundError, NotADirectoryError, ReadError, ValueError: see `read_manifest`.
        """
        return _read(self.path)

    @property
    def readable(self) -> bool:
        """Whether the manifest is there and whole; its files may yet be damaged (`Store.verify`).

        Raises:
            ReadError: it cannot be told now.
        """
        try:
            return bool(self.manifest)
        except (*ABSENT, ValueError):
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


def read_manifest(folder: Path) -> Manifest:
    """The manifest in a folder, as it is on disk.

    Raises:
        FileNotFoundError, NotADirectoryError: there is none.
        ValueError: there is one, and it is damaged.
        ReadError: it cannot be read now.
    """
    path = folder / MANIFEST
    with reading_file(path):
        try:
            text = path.read_text(encoding="utf-8")
        except IsADirectoryError:
            raise ValueError("not a manifest") from None
    return parsed(text)


_read = memoized(read_manifest)
