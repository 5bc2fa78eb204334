"""The artifact store: get by fingerprint, or produce once, however many ask."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from faq_pipeline.store.artifact import MANIFEST, Artifact, FileEntry, Manifest
from faq_pipeline.store.fingerprint import LENGTH, file_digest
from faq_pipeline.store.flush import Flush
from faq_pipeline.util.atomic_files import fsync_path


@dataclass(frozen=True)
class Key:
    """Everything that is known of an artifact before it is made."""

    stage: str
    stage_version: int
    fingerprint: str
    identity: Mapping[str, Any]
    inputs: Mapping[str, str]
    upstream: Mapping[str, str]
    measurements: tuple[str, ...] = ()
    """Files that are no part of the digest."""


@dataclass(frozen=True)
class Store:
    """Artifacts under `root/<stage>/<fingerprint>/`.

    A folder of that name exists only complete: it is written in `root/.staging` on the same file
    system and appears by one rename. Locks are held by the operating system and die with their
    holder.
    """

    root: Path
    _flushes: dict[Path, Flush] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def ledgers(self) -> Path:
        """Where unfinished builds keep what they have; see `regeneration.ledger`."""
        return self.root / ".ledgers"

    def get(self, stage: str, fingerprint: str) -> Artifact | None:
        """The committed artifact, or None. One whose manifest cannot be read counts as not there."""
        artifact = Artifact(self.root / stage / fingerprint)
        return artifact if artifact.readable else None

    def find(self, prefix: str) -> list[Artifact]:
        """Artifacts whose fingerprint starts with `prefix`."""
        return [a for a in self.folders() if a.path.name.startswith(prefix) and a.readable]

    def artifacts(self, stage: str = "*") -> Iterator[Artifact]:
        """All committed artifacts (of one stage), by stage and fingerprint."""
        return (artifact for artifact in self.folders(stage) if artifact.readable)

    def folders(self, stage: str = "*") -> Iterator[Artifact]:
        """What lies in an artifact's place, whole or broken; no manifest is read."""
        for path in sorted(self.root.glob(f"{stage}/*")):
            if path.is_dir() and not path.parent.name.startswith("."):
                yield Artifact(path)

    def produce(
        self,
        key: Key,
        build: Callable[[Path], dict[str, Any]],
        within: AbstractContextManager[object] | None = None,
    ) -> tuple[Artifact, bool]:
        """The artifact of `key`, built by `build(folder)` unless it is there.

        Of several processes that ask at once, one builds and the others wait for it.

        Args:
            within: entered while it is built, and only then. What that waits for is not counted in
                the artifact's seconds.

        Returns:
            The artifact, and whether it was a hit.
        """
        hit = self.get(key.stage, key.fingerprint)
        if hit is not None:
            return hit, True
        with self._lock(key.fingerprint):
            hit = self.get(key.stage, key.fingerprint)
            if hit is not None:
                return hit, True
            self._sweep(key.fingerprint)
            staging = self.root / ".staging" / f"{key.fingerprint}-{uuid.uuid4().hex[:8]}"
            staging.mkdir(parents=True)
            try:
                with within or nullcontext():
                    return self._commit(key, staging, build), False
            finally:
                shutil.rmtree(staging, ignore_errors=True)

    def settle(self, folder: Path) -> None:
        """Begin to hash and flush what lies in a folder that `produce` has given to a build.

        For a build that has large files which will not change, and something left to do.
        """
        self._flushes[folder].begin()

    def verify(self, artifact: Artifact) -> list[str]:
        """What is wrong with an artifact's files: one line each, empty if its bytes are as committed."""
        if not artifact.readable:
            return [f"{artifact.path / MANIFEST}: missing or not a manifest"]
        problems = []
        for entry in artifact.manifest.files:
            path = artifact.path / entry.path
            if not path.is_file():
                problems.append(f"{path}: missing")
            elif path.stat().st_size != entry.bytes or file_digest(path) != entry.sha256:
                problems.append(f"{path}: bytes differ from the manifest")
        return problems

    def remove(self, artifact: Artifact) -> None:
        """Take an artifact away, atomically: it is moved aside before it is deleted."""
        with self._lock(artifact.path.name):
            self._bury(artifact.path)

    def sweep(self) -> int:
        """Delete what killed runs left in staging; folders whose lock is held are left alone."""
        swept = 0
        for folder in (self.root / ".staging").glob("*"):
            lock = self._lock(folder.name[:LENGTH])
            if lock.acquire_nowait():
                try:
                    shutil.rmtree(folder, ignore_errors=True)
                    swept += 1
                finally:
                    lock.release()
        return swept

    def _commit(self, key: Key, staging: Path, build: Callable[[Path], dict[str, Any]]) -> Artifact:
        started = time.perf_counter()
        with closing(Flush(staging)) as flush:
            self._flushes[staging] = flush
            try:
                metadata = build(staging)
            finally:
                del self._flushes[staging]
            files = flush.end()
        manifest = Manifest(
            stage=key.stage,
            stage_version=key.stage_version,
            fingerprint=key.fingerprint,
            digest=_digest([file for file in files if file.path not in key.measurements]),
            identity=dict(key.identity),
            inputs=dict(key.inputs),
            upstream=dict(key.upstream),
            files=files,
            metadata=metadata,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(time.perf_counter() - started, 3),
        )
        text = json.dumps(manifest.model_dump(), indent=1, sort_keys=True, ensure_ascii=False)
        (staging / MANIFEST).write_text(text + "\n", encoding="utf-8")
        fsync_path(staging / MANIFEST)
        for path in [*(path for path in staging.rglob("*") if path.is_dir()), staging]:
            fsync_path(path)
        final = self.root / key.stage / key.fingerprint
        final.parent.mkdir(parents=True, exist_ok=True)
        if final.exists():  # no artifact, or `produce` would have found it: a rename would fail on it
            self._bury(final)
        staging.rename(final)
        fsync_path(final.parent)
        return Artifact(final)

    def _bury(self, folder: Path) -> None:
        """Move a folder aside, so that it is gone at once, and delete it there."""
        grave = self.root / ".staging" / f"{folder.name}-{uuid.uuid4().hex[:8]}"
        grave.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(grave)
        shutil.rmtree(grave, ignore_errors=True)

    def _lock(self, fingerprint: str) -> _Lock:
        folder = self.root / ".locks"
        folder.mkdir(parents=True, exist_ok=True)
        return _Lock(str(folder / f"{fingerprint}.lock"))

    def _sweep(self, fingerprint: str) -> None:
        for folder in (self.root / ".staging").glob(f"{fingerprint}-*"):
            shutil.rmtree(folder, ignore_errors=True)


class _Lock(FileLock):
    """An operating-system lock on a file."""

    def acquire_nowait(self) -> bool:
        """Take the lock if nobody holds it."""
        from filelock import Timeout

        try:
            self.acquire(blocking=False)
        except Timeout:
            return False
        return True


def _digest(files: list[FileEntry]) -> str:
    listing = "".join(f"{entry.path}\0{entry.sha256}\n" for entry in files)
    return hashlib.sha256(listing.encode()).hexdigest()[:LENGTH]
