"""Artifacts are whole or absent, built once, and their bytes can be checked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faq_pipeline.store.artifact import MANIFEST, Artifact
from faq_pipeline.store.fingerprint import file_digest, fingerprint
from faq_pipeline.store.store import Key, Store

BUILDER = """
import os, sys, time
from dataclasses import replace
from pathlib import Path
from faq_pipeline.store.store import Key, Store

root, counter, mode = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]

def build(folder):
    with counter.open("a") as file:
        file.write(f"{os.getpid()}\\n")
    (folder / "data.txt").write_text("half")
    if mode == "hang":
        print("building", flush=True)
        time.sleep(600)
    time.sleep(0.5)
    (folder / "data.txt").write_text("whole")
    return {"by": os.getpid()}

print("ready", flush=True)
sys.stdin.readline()
note = (lambda line: print(line, flush=True)) if mode == "tell" else (lambda line: None)
artifact, hit = Store(root).produce(Key("toy", 1, "f" * 20, {}, {}, {}), build, note=note)
print((artifact.path / "data.txt").read_text(), hit, flush=True)
"""


def key(name: str = "a", stage: str = "toy") -> Key:
    return Key(stage, 1, fingerprint(stage, 1, {"name": name}, {}), {"name": name}, {}, {})


def write(files: dict[str, bytes]) -> Any:
    def build(folder: Path) -> dict[str, Any]:
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        return {"files": len(files)}

    return build


def start(root: Path, counter: Path, mode: str = "once") -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", BUILDER, str(root), str(counter), mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_a_miss_builds_and_a_hit_does_not(store: Store) -> None:
    made, hit = store.produce(key(), write({"a.txt": b"one", "sub/b.txt": b"two"}))
    assert not hit and made.file("sub/b.txt").read_bytes() == b"two"

    def never(folder: Path) -> dict[str, Any]:
        raise AssertionError("built twice")

    again, hit = store.produce(key(), never)
    assert hit and again.path == made.path and again.manifest == made.manifest
    assert made.metadata == {"files": 2}
    assert [entry.path for entry in made.manifest.files] == ["a.txt", "sub/b.txt"]
    assert store.get("toy", key().fingerprint) == made
    assert store.get("other", key().fingerprint) is None


def test_measurements_are_kept_and_hashed_but_no_part_of_the_digest(store: Store) -> None:
    def made(name: str, data: bytes, measured: bytes) -> Artifact:
        own = replace(key(name), measurements=("m.txt",))
        return store.produce(own, write({"a.txt": data, "m.txt": measured}))[0]

    first, other, data = made("a", b"1", b"x"), made("b", b"1", b"y"), made("c", b"2", b"x")
    assert first.digest == other.digest != data.digest
    other.file("m.txt").write_bytes(b"z")
    assert store.verify(first) == [] and "bytes differ" in store.verify(other)[0]


def test_processes_that_want_one_fingerprint_build_it_once(store: Store, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    processes = [start(store.root, counter) for _ in range(3)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert sorted(said) == ["whole False", "whole True", "whole True"]
    assert len(counter.read_text().splitlines()) == 1


def test_a_killed_builder_leaves_nothing_that_is_taken_for_a_hit(store: Store, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    killed = start(store.root, counter, "hang")
    assert killed.stdin is not None and killed.stdout is not None
    killed.stdin.write("go\n")
    killed.stdin.flush()
    assert killed.stdout.readline() == "building\n"
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert store.get("toy", "f" * 20) is None and list(store.artifacts()) == []
    assert len(list((store.root / ".staging").iterdir())) == 1
    again = start(store.root, counter)
    assert again.communicate("go\n", timeout=60)[0].strip() == "whole False"
    assert list((store.root / ".staging").iterdir()) == []
    assert len(counter.read_text().splitlines()) == 2


def test_who_waits_for_a_builder_says_so_and_builds_when_it_is_killed(store: Store, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    killed, waiter = start(store.root, counter, "hang"), start(store.root, counter, "tell")
    for process in (killed, waiter):
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        if process is killed:
            assert killed.stdout is not None and killed.stdout.readline() == "building\n"
    assert waiter.stdout is not None
    told = waiter.stdout.readline()
    assert told.startswith(f"waits for toy ffffffff, which is made by pid {killed.pid} of "), told
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert waiter.communicate(timeout=60)[0].strip() == "whole False"


def test_threads_of_one_process_build_once_too(store: Store) -> None:
    built: list[int] = []

    def build(folder: Path) -> dict[str, Any]:
        built.append(1)
        time.sleep(0.2)
        return write({"a": b"1"})(folder)

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: store.produce(key(), build), range(3)))
    assert len(built) == 1 and sorted(hit for _, hit in found) == [False, True, True]


def test_a_failed_build_leaves_nothing(store: Store) -> None:
    def fail(folder: Path) -> dict[str, Any]:
        (folder / "half.txt").write_text("half")
        raise RuntimeError("no luck")

    with pytest.raises(RuntimeError, match="no luck"):
        store.produce(key(), fail)
    assert list(store.artifacts()) == [] and list((store.root / ".staging").iterdir()) == []
    assert not store.produce(key(), write({"a": b"1"}))[1]


names = st.text("abcxyz", min_size=1, max_size=6)
contents = st.dictionaries(names, st.binary(max_size=64), min_size=1, max_size=4)


@settings(max_examples=25)
@given(contents, st.data())
def test_the_digest_is_of_names_and_bytes_alone(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes], data: st.DataObject
) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    turned = dict(reversed(files.items()))
    one, _ = store.produce(key("one"), write(files))
    other, _ = store.produce(key("other", "another_stage"), write(turned))
    assert one.digest == other.digest and one.fingerprint != other.fingerprint
    victim = data.draw(st.sampled_from(sorted(files)))
    changed, _ = store.produce(key("changed"), write({**files, victim: files[victim] + b"!"}))
    renamed, _ = store.produce(
        key("renamed"), write({(n + "_" if n == victim else n): c for n, c in files.items()})
    )
    assert len({one.digest, changed.digest, renamed.digest}) == 3


@settings(max_examples=25)
@given(st.binary(min_size=1, max_size=200), st.data())
def test_verify_finds_any_flipped_bit(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, data: st.DataObject
) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    made, _ = store.produce(key(), write({"a.bin": content, "b.bin": b"untouched"}))
    assert store.verify(made) == []
    place = data.draw(st.integers(0, len(content) - 1))
    flipped = bytearray(content)
    flipped[place] ^= 1 << data.draw(st.integers(0, 7))
    made.file("a.bin").write_bytes(flipped)
    assert store.verify(made) == [f"{made.file('a.bin')}: bytes differ from the manifest"]


def test_verify_finds_missing_and_cut_files(store: Store) -> None:
    made, _ = store.produce(key(), write({"a": b"abc", "b": b"abc"}))
    made.file("a").unlink()
    made.file("b").write_bytes(b"ab")
    assert [line.rsplit(": ")[1] for line in store.verify(made)] == [
        "missing",
        "bytes differ from the manifest",
    ]


def test_find_by_prefix(store: Store) -> None:
    made = {store.produce(key(str(n)), write({"a": b"1"}))[0].path.name for n in range(5)}
    one = min(made)
    assert [found.path.name for found in store.find(one[:12])] == [one]
    assert {found.path.name for found in store.find("")} == made
    assert store.find("no hex") == []


def test_remove_takes_an_artifact_away_and_it_can_be_made_again(store: Store) -> None:
    made, _ = store.produce(key(), write({"a": b"1"}))
    other, _ = store.produce(key("other"), write({"a": b"1"}))
    store.remove(made)
    assert [found.path for found in store.artifacts()] == [other.path]
    assert list((store.root / ".staging").iterdir()) == []
    assert not store.produce(key(), write({"a": b"1"}))[1]


def test_sweep_deletes_what_the_dead_left_and_spares_the_living(store: Store, tmp_path: Path) -> None:
    dead = store.root / ".staging" / f"{'0' * 20}-dead"
    dead.mkdir(parents=True)
    (dead / "half").write_text("half")
    living = start(store.root, tmp_path / "counter", "hang")
    try:
        assert living.stdin is not None and living.stdout is not None
        living.stdin.write("go\n")
        living.stdin.flush()
        assert living.stdout.readline() == "building\n"
        assert store.sweep() == 1
        (left,) = (store.root / ".staging").iterdir()
        assert left.name.startswith("f" * 20)
    finally:
        os.killpg(living.pid, signal.SIGKILL)
        living.communicate()
    assert store.sweep() == 1 and store.sweep() == 0


def test_a_folder_without_a_manifest_is_no_artifact(store: Store) -> None:
    (store.root / "toy" / key().fingerprint).mkdir(parents=True)
    assert store.get("toy", key().fingerprint) is None and list(store.artifacts()) == []


def test_a_settled_file_is_hashed_once_and_early(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    begun = Event()

    def digest(path: Path) -> str:
        hashed.append(path.name)
        begun.set()
        return file_digest(path)

    monkeypatch.setattr("faq_pipeline.store.flush.file_digest", digest)

    def build(folder: Path) -> dict[str, Any]:
        (folder / "large").write_bytes(b"x" * 1000)
        store.settle(folder)
        assert begun.wait(30) and hashed == ["large"]
        (folder / "late").write_bytes(b"y")
        return {}

    artifact, _ = store.produce(key(), build)
    assert sorted(hashed) == ["large", "late"]
    assert [file.path for file in artifact.manifest.files] == ["large", "late"]
    assert store.verify(artifact) == []


def _changed(path: Path) -> int:
    return path.stat().st_ctime_ns


def test_a_file_that_changes_after_all_is_hashed_as_it_is_in_the_end(store: Store) -> None:
    def build(folder: Path) -> dict[str, Any]:
        (folder / "large").write_bytes(b"x" * 1000)
        (folder / "other").write_bytes(b"x" * 1000)
        store.settle(folder)
        settled = _changed(folder / "large")
        while _changed(folder / "large") == settled:  # the file system's clock ticks now and then
            (folder / "large").write_bytes(b"z" * 1000)
        (folder / "other").write_bytes(b"z" * 999)
        return {}

    artifact, _ = store.produce(key(), build)
    assert store.verify(artifact) == []
    assert [file.bytes for file in artifact.manifest.files] == [1000, 999]


def test_every_file_is_on_disk_before_the_artifact_appears(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []

    def slow(path: Path) -> None:
        time.sleep(0.05)
        assert store.get("toy", key().fingerprint) is None
        flushed.append(path.name)

    monkeypatch.setattr("faq_pipeline.store.flush.fsync_path", slow)
    names = [f"file-{number}" for number in range(9)]

    def build(folder: Path) -> dict[str, Any]:
        for name in names:
            (folder / name).write_text(name)
        return {}

    store.produce(key(), build)
    assert sorted(flushed) == names


def test_what_cannot_be_flushed_is_not_committed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("faq_pipeline.store.flush.fsync_path", fail)
    with pytest.raises(OSError, match="No space"):
        store.produce(key(), lambda folder: (folder / "a").write_text("a") and {})
    assert store.get("toy", key().fingerprint) is None
    assert not list((store.root / ".staging").iterdir())


@pytest.mark.parametrize("left", [None, "", "{", "[]", '{"stage": "toy"}', "\udcff"], ids=repr)
def test_a_broken_manifest_counts_as_no_artifact_and_is_found_and_replaced(
    store: Store, left: str | None
) -> None:
    made, _ = store.produce(key(), write({"a": b"1"}))
    sound, _ = store.produce(key("sound"), write({"a": b"1"}))
    if left is None:
        made.file(MANIFEST).unlink()
    else:
        made.file(MANIFEST).write_bytes(left.encode("utf-8", "surrogateescape"))
    assert store.get("toy", key().fingerprint) is None
    assert list(store.artifacts()) == [sound] == store.find("")
    assert {one for one in store.folders() if store.verify(one)} == {Artifact(made.path)}
    assert store.verify(Artifact(made.path)) == [f"{made.file(MANIFEST)}: missing or not a manifest"]
    again, hit = store.produce(key(), write({"b": b"2"}))
    assert not hit and store.verify(again) == [] and not again.file("a").exists()
    assert list((store.root / ".staging").iterdir()) == []


def test_the_manifest_says_where_an_artifact_is_from(store: Store) -> None:
    wanted = Key("toy", 3, "a" * 20, {"größe": 1}, {"up": "d" * 20}, {"up": "e" * 20})
    made, _ = store.produce(wanted, write({"a": b"1"}))
    manifest = made.manifest
    assert (manifest.stage, manifest.stage_version, manifest.fingerprint) == ("toy", 3, "a" * 20)
    assert manifest.identity == {"größe": 1} and manifest.inputs == {"up": "d" * 20}
    assert manifest.upstream == {"up": "e" * 20}
    assert MANIFEST not in [entry.path for entry in manifest.files]
