"""The artifact store: get by fingerprint, or produce once, however many ask."""

from __future__ import annotations

import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from faq_pipeline.errors import reading_file
from faq_pipeline.store.artifact import MANIFEST, Artifact, Manifest
from faq_pipeline.store.fingerprint import LENGTH
from faq_pipeline.store.flush import Flush
from faq_pipeline.store.inputs import verify_inputs
from faq_pipeline.store.key import Key
from faq_pipeline.store.manifest import digest_of, written
from faq_pipeline.store.unfinished import FOLDER, Unfinished
from faq_pipeline.store.verification import misplaced, problems
from faq_pipeline.util.atomic_files import fsync_path, make_folder, set_mode
from faq_pipeline.util.files import listing, stat_or_none, subfolders
from faq_pipeline.util.lock_holder import Holder, forget
from faq_pipeline.util.locks import ProcessLock

__all__ = ["Key", "Store"]

SIGN = 1.0
"""Seconds within which one who begins to build has written who it is."""
TELL = 60.0
"""Seconds after which one who still waits for another's build tells so again."""


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

    @property
    def unfinished(self) -> Unfinished:
        """What builds keep that were killed, by artifact."""
        return Unfinished(self.ledgers / FOLDER, self.root / ".locks")

    def get(self, stage: str, fingerprint: str) -> Artifact | None:
        """The committed artifact; None where none is there, or its manifest is damaged.

        Raises:
            ReadError: it cannot be told now.
        """
        artifact = Artifact(self.root / stage / fingerprint)
        return artifact if _is_sound(artifact) else None

    def find(self, prefix: str) -> list[Artifact]:
        """Artifacts whose fingerprint starts with `prefix`."""
        return [a for a in self.folders() if a.path.name.startswith(prefix) and _is_sound(a)]

    def artifacts(self, stage: str = "*") -> Iterator[Artifact]:
        """All committed artifacts (of one stage), by stage and fingerprint.

        Raises:
            ReadError: a manifest or folder cannot be read now.
        """
        return (artifact for artifact in self.folders(stage) if _is_sound(artifact))

    def folders(self, stage: str = "*") -> Iterator[Artifact]:
        """What lies in an artifact's place, whole or broken; no manifest is read.

        Raises:
            ReadError: a folder cannot be read now.
        """
        with reading_file(self.root):
            stages = subfolders(self.root) if stage == "*" else [self.root / stage]
        for folder in stages:
            with reading_file(folder):
                found = subfolders(folder)
            yield from map(Artifact, found)

    def produce(
        self,
        key: Key,
        build: Callable[[Path], dict[str, Any]],
        within: AbstractContextManager[object] | None = None,
        note: Callable[[str], None] = lambda _: None,
    ) -> tuple[Artifact, bool]:
        """The artifact of `key`, built by `build(folder)` unless it is there.

        Of several processes that ask at once, one builds and the others wait for it. Before it builds,
        it compares the bytes of the inputs with their manifests.

        Args:
            within: a context manager entered only for a build. Time spent waiting to enter it is not
                counted in the artifact's seconds.
            note: is told of a broken artifact in this one's place, which is moved aside; and at once and
                then every minute which process makes the artifact, while it is waited for.

        Returns:
            The artifact, and whether it was a hit.

        Raises:
            FaqError: an input is damaged, or was made again with other bytes since the key was made.
            ReadError: it cannot be told now whether the artifact, or an input, is there and whole.
        """
        hit = self.get(key.stage, key.fingerprint)
        if hit is not None:
            return hit, True
        with self._building(key, note):
            hit = self.get(key.stage, key.fingerprint)
            if hit is not None:
                return hit, True
            verified = verify_inputs(self.root, key)
            self._sweep(key.fingerprint)
            staging = make_folder(self.root / ".staging" / f"{key.fingerprint}-{uuid.uuid4().hex[:8]}")
            try:
                with within or nullcontext():
                    manifest = self._fill(key, staging, build, verified)
                artifact = self._commit(manifest, staging, note)
                self.unfinished.forget(key.fingerprint)
                return artifact, False
            finally:
                shutil.rmtree(staging, ignore_errors=True)

    def settle(self, folder: Path) -> None:
        """Begin to hash and flush what lies in a folder that `produce` has given to a build.

        For a build that has large files which will not change, and something left to do.
        """
        self._flushes[folder].begin()

    def verify(self, artifact: Artifact) -> list[str]:
        """What is wrong with an artifact: one line each, empty if all is as committed.

        Every file is read: the manifest against its checksum, its digest and its place, the others
        against the manifest.

        Raises:
            ReadError: a file cannot be read now.
        """
        return [str(problem) for problem in problems(artifact)]

    def remove(self, artifact: Artifact) -> None:
        """Take an artifact away, atomically: it is moved aside before it is deleted."""
        with self._lock(artifact.path.name):
            if stat_or_none(artifact.path) is None:
                return  # another process was faster
            shutil.rmtree(self._move(artifact.path, ".staging"), ignore_errors=True)

    def sweep(self) -> int:
        """Delete what killed runs left in staging, and broken artifacts that were moved aside.

        So is what a build kept whose artifact is there. Folders whose lock is held are left alone.
        """
        swept = 0
        for name in self.unfinished.fingerprints():
            if any(stat_or_none(stage / name) is not None for stage in subfolders(self.root)):
                swept += self.unfinished.drop(name)
        for folder in [*listing(self.root / ".staging"), *listing(self.root / ".broken")]:
            lock = self._lock(folder.name[:LENGTH])
            if lock.acquire(timeout=0):
                try:
                    shutil.rmtree(folder, ignore_errors=True)
                    swept += 1
                finally:
                    lock.release()
        return swept

    def _fill(
        self, key: Key, staging: Path, build: Callable[[Path], dict[str, Any]], verified: bool
    ) -> Manifest:
        """Build in an empty folder; when this returns its files are on disk."""
        started = time.perf_counter()
        with closing(Flush(staging)) as flush:
            self._flushes[staging] = flush
            try:
                metadata = build(staging)
            finally:
                del self._flushes[staging]
            files = flush.end()
        return Manifest(
            stage=key.stage,
            stage_version=key.stage_version,
            fingerprint=key.fingerprint,
            digest=digest_of(files, key.measurements),
            identity=dict(key.identity),
            inputs=dict(key.inputs),
            upstream=dict(key.upstream),
            files=files,
            metadata=metadata,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(time.perf_counter() - started, 3),
            measurements=list(key.measurements),
            inputs_verified=verified,
        )

    def _commit(self, manifest: Manifest, staging: Path, note: Callable[[str], None]) -> Artifact:
        """Move a filled folder into the artifact's place."""
        path = staging / MANIFEST
        path.write_text(written(manifest), encoding="utf-8")
        mode = stat.S_IMODE(staging.stat().st_mode)
        set_mode(path, mode & 0o666)
        fsync_path(path)
        for folder in [*(path for path in staging.rglob("*") if path.is_dir()), staging]:
            set_mode(folder, mode)
            fsync_path(folder)
        final = make_folder(self.root / manifest.stage) / manifest.fingerprint
        if stat_or_none(final) is not None:  # no artifact, or `produce` would have found it
            aside = self._move(final, ".broken")
            note(f"{final} was broken and is made again; the old one is in {aside} until faq cache gc")
        staging.rename(final)
        fsync_path(final.parent)
        return Artifact(final)

    def _move(self, folder: Path, to: str) -> Path:
        """Move a folder aside, so that it is gone from its place at once."""
        aside = make_folder(self.root / to) / f"{folder.name}-{uuid.uuid4().hex[:8]}"
        folder.rename(aside)
        fsync_path(folder.parent)
        return aside

    @contextmanager
    def _building(self, key: Key, note: Callable[[str], None]) -> Iterator[None]:
        """Hold the lock of an artifact, with a word for those who wait for it who does."""
        lock = self._lock(key.fingerprint)
        patience = SIGN
        while not lock.acquire(timeout=patience):
            patience = TELL
            holder = Holder.read(lock.path) or "another process"
            note(f"waits for {key.stage} {key.fingerprint[:8]}, which is made by {holder}")
        try:
            with suppress(OSError):  # for messages alone, as on a full disk
                Holder.this_process(f"{key.stage} {key.fingerprint[:8]}").write(lock.path)
            yield
        finally:
            with suppress(OSError):
                forget(lock.path)
            lock.release()

    def _lock(self, fingerprint: str) -> ProcessLock:
        return ProcessLock(self.root / ".locks" / f"{fingerprint}.lock")

    def _sweep(self, fingerprint: str) -> None:
        for folder in listing(self.root / ".staging"):
            if folder.name.startswith(f"{fingerprint}-"):
                shutil.rmtree(folder, ignore_errors=True)


def _is_sound(artifact: Artifact) -> bool:
    """Whether the manifest is whole and in its place. No other file is looked at: a hit stays cheap."""
    return artifact.readable and not misplaced(artifact, artifact.manifest)
