"""Files and folders that appear whole or not at all, whenever their writer dies."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """An empty folder to fill, which is renamed to `target` where the block ends well.

    It lies beside the target under a hidden name that begins with the target's; a killed writer leaves
    it there.

    Raises:
        OSError: the target is a file, or a folder with files in it.
    """
    staging = staging_path(target)
    staging.mkdir(parents=True)
    try:
        yield staging
        for path in [*staging.rglob("*"), staging]:
            fsync_path(path)
        staging.replace(target)
        fsync_path(target.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_atomic(path: Path, text: str) -> None:
    """Write or replace a file by one rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = staging_path(path)
    try:
        fresh.write_text(text, encoding="utf-8")
        fsync_path(fresh)
        fresh.replace(path)
        fsync_path(path.parent)
    finally:
        fresh.unlink(missing_ok=True)


def staging_path(path: Path) -> Path:
    """A hidden name that nobody else has, on the path's own file system."""
    return path.parent / f".{path.name}-{uuid.uuid4().hex[:8]}"


def fsync_path(path: Path) -> None:
    """Flush a file or folder to disk before a rename may make it visible."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
