"""Copies of an artifact's files for others: what is copied is what was committed, or nothing is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faq_pipeline.errors import FaqError, ReadError, reading_file
from faq_pipeline.store.artifact import MANIFEST, Artifact, FileEntry
from faq_pipeline.store.manifest import contradictions
from faq_pipeline.store.verification import (
    Hashes,
    Problem,
    file_problem,
    files_problems,
    misplaced,
    remembered_hash,
)
from faq_pipeline.util.atomic_files import atomic_folder, make_folder

PART = 2**20
"""Bytes that are read at a time."""


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder to fill for a user, which appears at `target` where the block ends well.

    Raises:
        FaqError: the target is a file or a folder with files, or cannot be written.
    """
    folder = target.absolute()
    if folder.exists() and not folder.is_dir():
        raise FaqError("this is a file", hint="name a new folder", file=target)
    if folder.is_dir() and any(folder.iterdir()):
        raise FaqError("this folder is not empty", hint="name a new one", file=target)
    try:
        with atomic_folder(folder) as staging:
            yield staging
    except ReadError:
        raise
    except OSError as error:
        raise FaqError(f"cannot be written: {error.strerror}", file=target) from error


def copy_files(artifact: Artifact, below: str, target: Path) -> None:
    """Copy the files below a folder of an artifact into an empty folder.

    The copies get the usual mode: files of an older store may be their owner's alone.

    Raises:
        FaqError: the artifact is not as it was committed.
        ReadError: a file of it cannot be read now.
        OSError: the target cannot be written to.
    """
    _check(artifact)
    for entry, copy in _copies(artifact, below, target):
        make_folder(copy.parent)
        source = artifact.file(entry.path)
        if _copy(source, copy) != entry.sha256:
            raise _damaged(Problem(source, "bytes differ from the manifest"))


def copy_problems(artifact: Artifact, below: str, copy: Path) -> list[Problem]:
    """What is wrong with a copy that `copy_files` made: its files are read, others may lie beside them.

    Raises:
        ReadError: a file of it cannot be read now.
    """
    found = [Problem(path, file_problem(path, entry)) for entry, path in _copies(artifact, below, copy)]
    return [problem for problem in found if problem.what]


def _copies(artifact: Artifact, below: str, target: Path) -> Iterator[tuple[FileEntry, Path]]:
    """The files below a folder of an artifact, and where their copies lie."""
    for entry in artifact.manifest.files:
        first, *rest = Path(entry.path).parts
        if first == below:
            yield entry, target.joinpath(*rest)


def check_whole(artifact: Artifact) -> None:
    """Compare all bytes of an artifact with its manifest.

    Raises:
        FaqError: the artifact is not as it was committed.
        ReadError: a file of it cannot be read now.
    """
    _check(artifact, remembered_hash)


def _check(artifact: Artifact, hashes: Hashes | None = None) -> None:
    manifest = artifact.manifest
    for what in [*misplaced(artifact, manifest), *contradictions(manifest)]:
        raise _damaged(Problem(artifact.path / MANIFEST, what))
    for problem in files_problems(artifact, manifest, hashes):
        raise _damaged(problem)


def _copy(source: Path, copy: Path) -> str:
    """Copy a file; returns the SHA-256 of what was copied, in hex."""
    copied = hashlib.sha256()
    with reading_file(source):
        file = source.open("rb")
    with file, copy.open("xb") as out:
        while True:
            with reading_file(source):
                part = file.read(PART)
            if not part:
                return copied.hexdigest()
            copied.update(part)
            out.write(part)


def _damaged(problem: Problem) -> FaqError:
    return FaqError(
        f"damaged: {problem.what}",
        hint="faq cache gc --broken, and run again",
        file=problem.path,
    )
