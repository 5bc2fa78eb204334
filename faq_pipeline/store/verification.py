"""Whether an artifact is what was committed: its manifest, its place and the bytes of its files."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from faq_pipeline.errors import reading_file
from faq_pipeline.store.artifact import MANIFEST, Artifact, FileEntry, Manifest, read_manifest
from faq_pipeline.store.fingerprint import TICK, file_state, hash_file
from faq_pipeline.store.manifest import ChecksumError, contradictions
from faq_pipeline.util.files import ABSENT, files_below, stat_or_none

Hashes = Callable[[Path], str]


@dataclass(frozen=True)
class Problem:
    """What is wrong with a file of an artifact."""

    path: Path
    what: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


def problems(artifact: Artifact, hashes: Hashes = hash_file, unread: Sequence[str] = ()) -> list[Problem]:
    """What is wrong with an artifact as it is on disk now; empty if it is as committed.

    Args:
        hashes: SHA-256 of a file's bytes, in hex.
        unread: patterns of files that are left out: they may be missing or differ.

    Raises:
        ReadError: a file of it cannot be read now.
    """
    path = artifact.path / MANIFEST
    try:
        manifest = read_manifest(artifact.path)
    except ChecksumError as error:
        return [Problem(path, str(error))]
    except (*ABSENT, ValueError):
        return [Problem(path, "missing or not a manifest")]
    found = [Problem(path, what) for what in [*misplaced(artifact, manifest), *contradictions(manifest)]]
    return found + files_problems(artifact, manifest, hashes, unread)


def misplaced(artifact: Artifact, manifest: Manifest) -> list[str]:
    """Whether the folder is named for another artifact than the manifest's."""
    place = (artifact.path.parent.name, artifact.path.name)
    if place == (manifest.stage, manifest.fingerprint):
        return []
    return [f"is of {manifest.stage}/{manifest.fingerprint}, and lies in {'/'.join(place)}"]


def files_problems(
    artifact: Artifact, manifest: Manifest, hashes: Hashes | None = None, unread: Sequence[str] = ()
) -> list[Problem]:
    """What is wrong with an artifact's files beside its manifest.

    Args:
        hashes: as in `problems`; where None no file is read, and only its size is compared.
        unread: as in `problems`.

    Raises:
        ReadError: a file of it cannot be read now.
    """
    with reading_file(artifact.path):
        there = set(files_below(artifact.path)) if stat_or_none(artifact.path) else set()
    entries = {artifact.path / entry.path: entry for entry in manifest.files}
    listed = {
        path: file_problem(path, entry, hashes)
        for path, entry in entries.items()
        if not any(fnmatch(entry.path, pattern) for pattern in unread)
    }
    extra = sorted(there - {artifact.path / MANIFEST, *entries})
    return [Problem(path, what) for path, what in listed.items() if what] + [
        Problem(path, "not in the manifest") for path in extra
    ]


def file_problem(path: Path, entry: FileEntry, hashes: Hashes | None = hash_file) -> str:
    """What is wrong with a file that is to have an entry's bytes; empty if it has them.

    Args:
        hashes: as in `files_problems`.

    Raises:
        ReadError: it cannot be read now.
    """
    try:
        with reading_file(path):
            if stat.S_ISDIR((now := path.stat()).st_mode):
                return "missing"
            same = now.st_size == entry.bytes and (hashes is None or hashes(path) == entry.sha256)
    except ABSENT:
        return "missing"
    return "" if same else "bytes differ from the manifest"


def remembered_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex; not read again by this process while the file's state stays."""
    state = file_state(path.stat())
    known = _hashes.get(path)
    if known is not None and known[0] == state:
        return known[1]
    settled = time.time_ns() - max(state[1], state[2]) > TICK
    digest = hash_file(path)
    if settled and file_state(path.stat()) == state:
        _hashes[path] = state, digest
    return digest


_hashes: dict[Path, tuple[tuple[int, ...], str]] = {}
