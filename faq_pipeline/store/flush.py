"""Files on their way to disk, hashed as they go."""

from __future__ import annotations

import stat
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from faq_pipeline.store.artifact import FileEntry
from faq_pipeline.store.fingerprint import file_digest, file_state
from faq_pipeline.util.atomic_files import fsync_path
from faq_pipeline.util.files import files_below

THREADS = 4
"""Files that are hashed, and flushed, at a time."""


@dataclass(frozen=True)
class _Begun:
    """A file as it was when its hashing and its flushing began."""

    state: tuple[int, ...]
    digest: Future[str]
    flushed: Future[None]


class Flush:
    """The files of a folder that is being filled. To be closed, which waits for what has begun.

    A checkpoint's gigabytes are hashed while they are written out, its shards side by side; and both
    may begin before the folder is full. Each file gets the mode that the umask gives to files: some
    writers keep theirs to their owner.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mode = stat.S_IMODE(folder.stat().st_mode) & 0o666
        self._begun: dict[Path, _Begun] = {}
        self._hashing, self._disk = ThreadPoolExecutor(THREADS), ThreadPoolExecutor(THREADS)

    def close(self) -> None:
        """Give up what has not begun."""
        for pool in (self._hashing, self._disk):
            pool.shutdown(cancel_futures=True)

    def begin(self) -> None:
        """Begin with every file that is there, and anew with those that have changed since."""
        for path in self._files():
            begun, state = self._begun.get(path), self._state(path)
            if begun is None or begun.state != state:
                flushed = self._disk.submit(fsync_path, path)
                self._begun[path] = _Begun(state, self._hashing.submit(file_digest, path), flushed)

    def end(self) -> list[FileEntry]:
        """Every file, by name; when this returns they are on disk.

        Raises:
            OSError: one could not be read or flushed.
        """
        self.begin()
        files = self._files()
        for path in files:
            self._begun[path].flushed.result()
        return [
            FileEntry(
                path=path.relative_to(self._folder).as_posix(),
                bytes=self._begun[path].state[0],
                sha256=self._begun[path].digest.result(),
            )
            for path in files
        ]

    def _files(self) -> list[Path]:
        return [path for path in files_below(self._folder) if path.is_file()]

    def _state(self, path: Path) -> tuple[int, ...]:
        now = path.stat()
        if stat.S_IMODE(now.st_mode) != self._mode and not path.is_symlink():
            path.chmod(self._mode)
            now = path.stat()
        return file_state(now)
