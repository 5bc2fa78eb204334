"""Atomic writes: a file or folder appears complete or not at all, even if its writer is killed or the
power fails.

Whatever is written here is flushed to disk, renamed into place, and the rename is flushed too. Modes
follow the umask; in a group's folder (setgid and writable by the group, as `chmod 2775` makes it) the
group may do what the owner may, whatever the umask.
"""

from __future__ import annotations

import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from faq_pipeline.util.files import stat_or_none


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """An empty folder to fill, which is renamed to `target` where the block ends well.

    It lies beside the target under a hidden name that begins with the target's; a killed writer leaves
    it there.

    Raises:
        OSError: the target is a file, or a folder with files in it.
    """
    staging = make_folder(staging_path(target))
    try:
        yield staging
        for path in [*staging.rglob("*"), staging]:
            fsync_path(path)
        staging.replace(target)
        fsync_path(target.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write or replace a file by one rename; text is written as UTF-8.

    Raises:
        OSError: it cannot be written. What was there before is still there.
    """
    make_folder(path.parent)
    fresh = staging_path(path)
    try:
        fresh.write_bytes(content.encode() if isinstance(content, str) else content)
        share_with_group(fresh)
        fsync_path(fresh)
        fresh.replace(path)
        fsync_path(path.parent)
    finally:
        fresh.unlink(missing_ok=True)


def link_atomic(link: Path, target: str) -> None:
    """Make or replace a symbolic link by one rename."""
    fresh = staging_path(link)
    try:
        fresh.symlink_to(target)
        fresh.replace(link)
        fsync_path(link.parent)
    finally:
        fresh.unlink(missing_ok=True)


def make_folder(path: Path) -> Path:
    """Make a folder and its parents, where they are not there yet.

    Returns:
        The folder.

    Raises:
        OSError: it cannot be made, or a file is in its place.
    """
    missing: list[Path] = []
    while stat_or_none(path) is None:
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        with suppress(FileExistsError):  # another process has just made it
            folder.mkdir()
            share_with_group(folder)
            fsync_path(folder.parent)
        path = folder
    if not path.is_dir():
        raise NotADirectoryError(20, "Not a directory", str(path))
    return path


def share_with_group(path: Path) -> None:
    """Let the group do what the owner may, if `path` lies in a group's folder."""
    shared = stat.S_ISGID | stat.S_IWGRP
    if path.parent.stat().st_mode & shared == shared:
        mode = stat.S_IMODE(path.stat().st_mode)
        path.chmod(mode | (mode & stat.S_IRWXU) >> 3)


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
