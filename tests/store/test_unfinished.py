"""What an interrupted build keeps outlives it, and nothing else does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from faq_pipeline.store.store import Store
from faq_pipeline.util.locks import ProcessLock
from tests.store.test_store import key, write


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def keep(store: Store, name: str, owner: str) -> Path:
    kept = store.unfinished.claim(key(name).fingerprint, owner) / "layer"
    kept.write_bytes(b"0" * 100)
    return kept


def test_it_is_there_for_the_next_build_and_gone_with_the_artifact(store: Store) -> None:
    def killed(folder: Path) -> dict[str, Any]:
        keep(store, "a", "cell")
        raise KeyboardInterrupt

    def goes_on(folder: Path) -> dict[str, Any]:
        assert store.unfinished.bytes > 100
        assert (store.unfinished.folder(key().fingerprint) / "layer").stat().st_size == 100
        return write({"data": b"1"})(folder)

    with pytest.raises(KeyboardInterrupt):
        store.produce(key(), killed)
    assert store.sweep() == 0 and store.unfinished.fingerprints() == [key().fingerprint]
    store.produce(key(), goes_on)
    assert store.unfinished.fingerprints() == [] and store.unfinished.bytes == 0


def test_an_owner_that_builds_from_other_inputs_leaves_nothing_behind(store: Store) -> None:
    old, others = keep(store, "a", "cell"), keep(store, "b", "another cell")
    keep(store, "c", "cell")
    assert not old.exists() and others.exists()


def test_what_is_being_built_is_left_alone(store: Store) -> None:
    old = keep(store, "a", "cell")
    store.produce(key("b"), write({"data": b"1"}))
    done = keep(store, "b", "another cell")
    locks = [ProcessLock(store.root / f".locks/{key(name).fingerprint}.lock") for name in "ab"]
    assert all(lock.acquire(timeout=0) for lock in locks)
    keep(store, "c", "cell")
    assert store.sweep() == 0 and old.exists() and done.exists()
    for lock in locks:
        lock.release()
    assert store.sweep() == 1 and not done.exists(), "its artifact is there"
