"""Modes follow the umask, and a store in a group's folder is used by all of the group."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from faq_pipeline.lineage.uses import read_uses, record_use
from faq_pipeline.store.artifact import MANIFEST
from faq_pipeline.store.store import Key, Store
from faq_pipeline.util.locks import ProcessLock
from tests.faults.table import FaultTable
from tests.store.users import GROUP, as_user, needs_root

ANN, BEN = 1234, 1235


def key(name: str) -> Key:
    return Key("quantized_checkpoint", 1, name * 20, {}, {}, {})


def build(folder: Path) -> dict[str, Any]:
    (folder / "checkpoint").mkdir(mode=0o700)
    save_file({"a": np.zeros(9)}, folder / "checkpoint/model.safetensors")
    return {}


def modes(folder: Path) -> dict[str, int]:
    return {p.relative_to(folder).as_posix(): stat.S_IMODE(p.lstat().st_mode) for p in folder.rglob("*")}


@pytest.mark.parametrize(("umask", "file", "folder"), [(0o022, 0o644, 0o755), (0o027, 0o640, 0o750)])
def test_modes_follow_the_umask(tmp_path: Path, umask: int, file: int, folder: int) -> None:
    """Of weights too, which safetensors writes for their owner alone."""
    before = os.umask(umask)
    try:
        store = Store(tmp_path / "store")
        artifact, _ = store.produce(key("a"), build)
        record_use(store, "m@01234567|r", "toy", "a" * 20)
    finally:
        os.umask(before)
    assert modes(artifact.path) == {
        "checkpoint": folder,
        "checkpoint/model.safetensors": file,
        MANIFEST: file,
    }
    assert stat.S_IMODE(artifact.path.stat().st_mode) == folder
    found = modes(store.root)
    assert found[f".uses/m@01234567|r/toy/{'a' * 20}.json"] == file
    assert found[f".locks/{'a' * 20}.lock"] == file


@pytest.fixture
def shared() -> Iterator[Path]:
    """A group's folder, as an administrator makes it; outside of root's own temporary folder."""
    top = Path(tempfile.mkdtemp())
    top.chmod(0o755)
    folder = top / "home"
    folder.mkdir()
    os.chown(folder, -1, GROUP)
    folder.chmod(0o2775)
    yield folder
    shutil.rmtree(top)


@needs_root
@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077], ids=oct)
def test_two_users_of_a_group_share_a_store(shared: Path, umask: int, fault_table: FaultTable) -> None:
    """Each finds what the other made, makes, verifies, records and takes away; whatever the umasks."""
    store = Store(shared / "store")

    def made(name: str) -> bool:
        hit = store.produce(key(name), build)[1]
        record_use(store, "m@01234567|r", "quantized_checkpoint", name * 20)
        return hit

    def cleaned() -> tuple[list[list[str]], int, int]:
        problems = [store.verify(artifact) for artifact in store.folders()]
        for artifact in list(store.folders()):
            store.remove(artifact)
        return problems, store.sweep(), len(read_uses(store))

    with fault_table.trial("two users of a group on one store, by umask"):
        assert as_user(ANN, lambda: made("a"), umask=umask) is False
        assert as_user(BEN, lambda: made("a"), umask=umask) is True
        assert as_user(BEN, lambda: made("b"), umask=umask) is False
        assert as_user(ANN, lambda: made("b"), umask=umask) is True
        assert as_user(BEN, cleaned, umask=umask) == ([[], []], 0, 2)
        assert as_user(ANN, lambda: made("a"), umask=umask) is False
        (artifact,) = store.folders()
        assert stat.S_IMODE(artifact.path.stat().st_mode) == 0o2775 & ~(0o007 & umask)
        assert list((store.root / ".staging").iterdir()) == []


@needs_root
def test_a_group_replaces_what_another_user_left_half_made_or_broken(shared: Path) -> None:
    store = Store(shared / "store")

    def leave() -> None:
        artifact, _ = store.produce(key("a"), build)
        artifact.file(MANIFEST).write_text("{")
        (store.root / ".staging" / ("a" * 20 + "-dead")).mkdir()

    as_user(ANN, leave)
    assert as_user(BEN, lambda: store.produce(key("a"), build)[1]) is False
    assert as_user(BEN, store.sweep) >= 1
    assert [store.verify(artifact) for artifact in store.folders()] == [[]]


@needs_root
def test_the_lock_file_of_another_user_can_be_locked(shared: Path) -> None:
    """Even one that was made before the group had a say; and it is then truly locked."""
    path = shared / "lock"
    path.touch(mode=0o644)
    lock = ProcessLock(path)
    assert as_user(BEN, lambda: ProcessLock(path).acquire(timeout=0))
    with lock:
        assert not as_user(BEN, lambda: ProcessLock(path).acquire(timeout=0))
