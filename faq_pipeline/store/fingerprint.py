"""The key of an artifact: a hash of everything its stage declares."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from faq_pipeline.util.memoize import memoized

LENGTH = 20
"""Hex digits of a fingerprint or digest: 80 bits, beyond accidental collision."""


def fingerprint(
    stage: str, stage_version: int, identity: Mapping[str, Any], inputs: Mapping[str, str]
) -> str:
    """Hash of the stage's name and version, its declared identity and its inputs' digests."""
    declared = {"stage": stage, "version": stage_version, "identity": identity, "inputs": dict(inputs)}
    canonical = json.dumps(declared, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return short_hash(canonical.encode())


def ordered(entries: Mapping[str, Any]) -> Any:
    """A mapping whose order counts, in a form whose hash has the order: pairs, where it is not by name.

    One in the order of its names stays as it is, and keeps the hash that it always had.
    """
    return dict(entries) if list(entries) == sorted(entries) else [list(pair) for pair in entries.items()]


def short_hash(data: bytes) -> str:
    """The first 80 bits of SHA-256, in hex."""
    return hashlib.sha256(data).hexdigest()[:LENGTH]


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex, read anew each time."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@memoized
def file_digest(path: Path) -> str:
    """As `hash_file`, for files that do not change within `memoizing()`."""
    return hash_file(path)


def file_state(stat: os.stat_result) -> tuple[int, ...]:
    """Size, times and identity of a file: where they are the same, so are the bytes, unless they were
    written within one tick of the file system's clock (`TICK`) or changed below the file system.
    """
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


TICK = 20_000_000
"""Nanoseconds. A file that changed longer ago than this has another state after its next change."""


def wait_for_tick(state: tuple[int, ...]) -> None:
    """Return once a file in this state would have another one after its next change: a tick at most."""
    _, modified, changed, _ = state
    left = max(modified, changed) + TICK - time.time_ns()
    time.sleep(min(max(left, 0), TICK) / 1e9)


@cache
def tool_version(package: str) -> str:
    """Version of an installed package, read without importing it; `absent` if it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
