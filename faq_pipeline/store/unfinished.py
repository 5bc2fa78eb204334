"""What an unfinished build keeps, so that the next one of the same artifact goes on where it was killed.

A folder for each artifact, by fingerprint, in the store's `.ledgers`. The stage decides what is in it. It is
deleted once the artifact is there (`Store.produce`, or `Store.sweep` after a kill in between), once the same
cell is built from other inputs (`claim`), or by `faq cache gc --ledgers`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from faq_pipeline.util.atomic_files import write_atomic
from faq_pipeline.util.files import ABSENT, subfolders
from faq_pipeline.util.locks import ProcessLock

FOLDER = "unfinished"
OWNER = "owner"


@dataclass(frozen=True)
class Unfinished:
    """The folders of a store.

    Attributes:
        root: holds one folder for each artifact.
        locks: holds the locks of the store's artifacts.
    """

    root: Path
    locks: Path

    def folder(self, fingerprint: str) -> Path:
        """An artifact's own; it need not be there."""
        return self.root / fingerprint

    def claim(self, fingerprint: str, owner: str) -> Path:
        """Say whose the folder is, and delete those that the same owner left for other artifacts.

        Folders of artifacts that are being built are left alone.

        Args:
            owner: what is built again and again, a cell.

        Raises:
            OSError: it cannot be written.
        """
        for folder in subfolders(self.root):
            if folder.name != fingerprint and _owner(folder) == owner:
                self.drop(folder.name)
        write_atomic(self.folder(fingerprint) / OWNER, owner)
        return self.folder(fingerprint)

    def drop(self, fingerprint: str) -> bool:
        """Delete an artifact's folder, unless the artifact is being built; whether it did."""
        with self._free(fingerprint) as free:
            if free:
                self.forget(fingerprint)
            return free

    def forget(self, fingerprint: str) -> None:
        """Delete the folder, for the one who builds the artifact."""
        shutil.rmtree(self.folder(fingerprint), ignore_errors=True)

    def fingerprints(self) -> list[str]:
        """Artifacts that have a folder.

        Raises:
            OSError: the folder that holds them cannot be read.
        """
        return [folder.name for folder in subfolders(self.root)]

    @property
    def bytes(self) -> int:
        """What all folders hold, as far as it can be told."""
        found = (Path(at) / name for at, _, names in os.walk(self.root) for name in names)
        return sum(_size(path) for path in found)

    @contextmanager
    def _free(self, fingerprint: str) -> Iterator[bool]:
        lock = ProcessLock(self.locks / f"{fingerprint}.lock")
        taken = lock.acquire(timeout=0)
        try:
            yield taken
        finally:
            if taken:
                lock.release()


def _owner(folder: Path) -> str | None:
    try:
        return (folder / OWNER).read_text(encoding="utf-8")
    except (*ABSENT, UnicodeDecodeError):
        return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # deleted meanwhile
        return 0
