"""What was written is flushed, file and folder, before it counts as written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from faq_pipeline.config.family import Member
from faq_pipeline.lineage.uses import record_use
from faq_pipeline.models.weights import find_weights
from faq_pipeline.publishing.record import Event, Record, Records
from faq_pipeline.registry import registry
from faq_pipeline.store.store import Key, Store
from faq_pipeline.study.execution.results import Result, write_result
from faq_pipeline.util.atomic_files import atomic_folder, link_atomic, write_atomic

EVENT = Event(what="published", when="now", by="me", cell="m|r")
WRITERS: dict[str, Callable[[Path, Path], object]] = {
    "digests": lambda home, model: find_weights(Member(name="m", path=model, parameters=1), home / "digests"),
    "uses": lambda home, model: record_use(Store(home), "m|r", "toy", "a" * 20),
    "study results": lambda home, model: write_result(Store(home), "main", Result("c", "d", True, {})),
    "registry": lambda home, model: registry.update(
        home / "members.json", lambda before: before.model_copy(update={"releases": 1})
    ),
    "records": lambda home, model: Records(home).add(Record(digest="d", fingerprint="f"), EVENT),
    "links": lambda home, model: link_atomic(home / "current", "target"),
    "artifacts": lambda home, model: Store(home).produce(
        Key("toy", 1, "a" * 20, {}, {}, {}), lambda folder: (folder / "data").write_text("1") and {}
    ),
    "folders": lambda home, model: _fill(home / "folder"),
    "files": lambda home, model: write_atomic(home / "new/folder/file", b"1"),
}


def _fill(target: Path) -> None:
    with atomic_folder(target) as folder:
        (folder / "file").write_text("1")


@pytest.mark.parametrize("what", WRITERS)
def test_a_power_cut_loses_nothing_that_was_written(
    what: str, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file is flushed before its rename, and after it the folder that it then lies in."""
    flushed: set[int] = set()
    dirty: set[Path] = set()
    real_sync, real_rename, real_replace, real_mkdir = os.fsync, os.rename, os.replace, os.mkdir

    def sync(handle: int) -> None:
        real_sync(handle)
        flushed.add(os.fstat(handle).st_ino)
        dirty.discard(Path(f"/proc/self/fd/{handle}").readlink())

    def moved(real: Callable[..., None]) -> Callable[..., None]:
        def move(source: Path, target: Path, **options: object) -> None:
            if not Path(source).is_symlink():
                below = [Path(source), *Path(source).rglob("*")]
                unflushed = [path for path in below if path.stat().st_ino not in flushed]
                assert unflushed == [], f"renamed before it was flushed: {unflushed}"
            real(source, target, **options)
            dirty.add(Path(target).parent.resolve())

        return move

    def made(path: Path, *arguments: object, **options: object) -> None:
        real_mkdir(path, *arguments, **options)  # type: ignore[arg-type]
        dirty.add(Path(path).parent.resolve())

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "rename", moved(real_rename))
    monkeypatch.setattr(os, "replace", moved(real_replace))
    monkeypatch.setattr(os, "mkdir", made)
    WRITERS[what](tmp_path, tiny_data / "models/tiny-s")
    assert dirty == set()


@pytest.mark.parametrize("what", ["digests", "uses", "study results", "registry", "records", "files"])
def test_what_was_there_before_survives_a_full_disk(
    what: str, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    WRITERS[what](tmp_path, tiny_data / "models/tiny-s")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.setattr(os, "fsync", full)
    try:
        WRITERS[what](tmp_path, tiny_data / "models/tiny-s")
    except Exception as error:
        assert "No space left" in str(error)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
