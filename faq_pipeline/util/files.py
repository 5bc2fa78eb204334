"""Looking at files so that an error is never taken for an absence.

`Path.exists`, `Path.is_file` and `Path.glob` answer "no" to some errors of the file system, which ones
depending on the version of Python. These functions answer "no" only where nothing is there.
"""

from __future__ import annotations

import os
from pathlib import Path

ABSENT = (FileNotFoundError, NotADirectoryError)
"""The errors that say that nothing is there."""


def stat_or_none(path: Path) -> os.stat_result | None:
    """The state of a file or folder, links followed; None where nothing is there.

    Raises:
        OSError: it cannot be told.
    """
    try:
        return path.stat()
    except ABSENT:
        return None


def obstacle(folder: Path) -> Path | None:
    """What keeps a folder from being made or written to: it, or its nearest parent that is there."""
    there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    return None if there.is_dir() and os.access(there, os.W_OK | os.X_OK) else there


def listing(folder: Path, suffix: str = "") -> list[Path]:
    """What lies in a folder under a name that ends so, sorted, hidden names left out.

    Empty where there is no such folder.

    Raises:
        OSError: the folder cannot be read.
    """
    try:
        names = sorted(path.name for path in folder.iterdir())
    except ABSENT:
        return []
    return [folder / name for name in names if name.endswith(suffix) and name[0] != "."]


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, as `listing` lists them."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.name[0] != "." and entry.is_dir())
    except ABSENT:
        return []
    return [folder / name for name in names]


def files_below(folder: Path) -> list[Path]:
    """Everything below a folder that is no folder, sorted by path.

    Raises:
        OSError: a folder is not there or cannot be read.
    """

    def fail(error: OSError) -> None:
        raise error

    return sorted(Path(at) / name for at, _, names in os.walk(folder, onerror=fail) for name in names)
