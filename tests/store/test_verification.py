"""What `verify` compares beside the files' bytes, and what is made of an input that is damaged."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from faq_pipeline.errors import FaqError
from faq_pipeline.store import verification
from faq_pipeline.store.artifact import MANIFEST, Artifact, FileEntry, Manifest
from faq_pipeline.store.damage import find_damage
from faq_pipeline.store.fingerprint import fingerprint
from faq_pipeline.store.manifest import written
from faq_pipeline.store.store import Key, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def key_of(stage: str, *sources: Artifact, **identity: Any) -> Key:
    inputs = {source.manifest.stage: source.digest for source in sources}
    upstream = {source.manifest.stage: source.fingerprint for source in sources}
    return Key(stage, 1, fingerprint(stage, 1, identity, inputs), identity, inputs, upstream)


def make(store: Store, stage: str, *sources: Artifact, content: str = "good") -> Artifact:
    def build(folder: Path) -> dict[str, Any]:
        (folder / "data").write_text(content)
        (folder / "figures").write_text("1.0")
        return {"recovery": 0.94}

    return store.produce(replace(key_of(stage, *sources), measurements=("figures",)), build)[0]


def as_of_an_earlier_version(artifact: Artifact, **changes: Any) -> None:
    """Rewrite its manifest as it was written before manifests had checksums."""
    content = json.loads(artifact.file(MANIFEST).read_text())
    for name in ("checksum", "measurements", "inputs_verified"):
        del content[name]
    text = json.dumps(content | changes, indent=1, sort_keys=True, ensure_ascii=False)
    artifact.file(MANIFEST).write_text(text + "\n")


def rot(artifact: Artifact) -> None:
    artifact.file("data").write_text("BAD!")


def problems(store: Store, artifact: Artifact) -> list[str]:
    return [line.rpartition(": ")[2] for line in store.verify(Artifact(artifact.path))]


def test_files_that_do_not_belong_there_are_found(store: Store) -> None:
    made = make(store, "toy")
    made.file("sub").mkdir()
    made.file("sub/extra").write_text("")
    made.file(".hidden").symlink_to("nowhere")
    assert store.verify(made) == [
        f"{made.file('.hidden')}: not in the manifest",
        f"{made.file('sub/extra')}: not in the manifest",
    ]


@pytest.mark.parametrize("place", ["toy/" + "0" * 20, "other"], ids=["fingerprint", "stage"])
def test_an_artifact_in_anothers_place_is_found_and_is_no_hit(store: Store, place: str) -> None:
    made = make(store, "toy")
    moved = store.root / place
    if place == "other":
        moved /= made.fingerprint
    moved.parent.mkdir(exist_ok=True)
    shutil.copytree(made.path, moved)
    assert "lies in" in store.verify(Artifact(moved))[0]
    assert store.get(moved.parent.name, moved.name) is None
    assert list(store.artifacts()) == [made] == store.find("")


def test_a_digest_that_is_not_that_of_the_files_is_found(store: Store) -> None:
    """Even under a checksum of its own, as a faulty writer would leave it."""
    made = make(store, "toy")
    made.file(MANIFEST).write_text(written(made.manifest.model_copy(update={"digest": "0" * 20})))
    assert problems(store, made) == ["its digest is not that of its files"]


def test_a_manifest_of_an_earlier_version_stays_a_hit(store: Store) -> None:
    made = make(store, "toy")
    as_of_an_earlier_version(made)
    found = store.get("toy", made.fingerprint)
    assert found is not None and not found.manifest.checksum
    assert store.verify(found) == []
    made.file("figures").write_text("2.0")
    assert problems(store, made) == ["bytes differ from the manifest"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"digest": "0" * 20}, "its digest is not that of its files"),
        ({"identity": {"x": 2}}, "its fingerprint is not that of its stage, identity and inputs"),
        ({"stage_version": 2}, "its fingerprint is not that of its stage, identity and inputs"),
        ({"inputs": {"up": "0" * 20}}, "its fingerprint is not that of its stage, identity and inputs"),
        ({"chdcksum": "0" * 64}, "missing or not a manifest"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_of_a_manifest_of_an_earlier_version_is_found_what_can_be(
    store: Store, changes: dict[str, Any], told: str
) -> None:
    made = make(store, "toy")
    as_of_an_earlier_version(made, **changes)
    assert told in problems(store, made)


def test_nothing_is_made_from_a_damaged_input(store: Store) -> None:
    source = make(store, "source")
    rot(source)
    with pytest.raises(FaqError, match=r"source is damaged, .* bytes differ .*gc --broken") as error:
        make(store, "report", source)
    assert error.value.file == source.file("data") and "\n" not in str(error.value)
    assert list(store.folders("report")) == []


def test_files_of_inputs_that_are_not_read_may_be_missing(store: Store) -> None:
    source = make(store, "source")
    source.file("data").unlink()
    key = replace(key_of("report", source), unread=("da*",))
    report, _ = store.produce(key, lambda folder: {})
    assert report.manifest.inputs_verified
    source.file("figures").unlink()
    with pytest.raises(FaqError, match=r"source is damaged, .* missing"):
        store.produce(replace(key_of("other", source), unread=("da*",)), lambda folder: {})


def test_an_input_is_read_again_only_after_it_changed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def counted(path: Path, real: Callable[[Path], str] = verification.hash_file) -> str:
        read.append(path)
        return real(path)

    source = make(store, "source")
    for name in ("data", "figures"):
        os.utime(source.file(name), ns=(1, 1))
    while verification.time.time_ns() - source.file("figures").stat().st_ctime_ns <= verification.TICK:
        pass
    monkeypatch.setattr(verification, "hash_file", counted)
    for stage in ("one", "two", "three"):
        make(store, stage, source)
    assert read == [source.file("data"), source.file("figures")]
    rot(source)
    os.utime(source.file("data"), ns=(1, 1))
    with pytest.raises(FaqError, match="damaged"):
        make(store, "four", source)


def test_an_input_made_again_with_other_bytes_is_told(store: Store) -> None:
    key = key_of("report", make(store, "source"))
    store.remove(next(store.folders("source")))
    make(store, "source", content="other")
    with pytest.raises(FaqError, match="made again with other bytes since report was planned"):
        store.produce(key, lambda folder: {})


def test_inputs_under_other_names_than_their_stages_are_verified_too(store: Store) -> None:
    """A comparison is made from several reports, by recipe."""
    report = make(store, "report")
    rot(report)
    key = Key("comparison", 1, "a" * 20, {}, {"faq": report.digest}, {"faq": report.fingerprint})
    with pytest.raises(FaqError, match="faq is damaged"):
        store.produce(key, lambda folder: {})


def test_a_broken_artifact_is_moved_aside_told_and_swept(store: Store) -> None:
    made = make(store, "toy")
    made.file(MANIFEST).write_text("{")
    notes: list[str] = []
    store.produce(key_of("toy"), lambda folder: {}, note=notes.append)
    (aside,) = (store.root / ".broken").iterdir()
    assert (aside / "data").read_text() == "good" and str(aside) in notes[0]
    assert list(store.folders()) == [made] and store.sweep() == 1 and not aside.exists()


def test_what_verified_its_inputs_outlives_their_damage(store: Store) -> None:
    source = make(store, "source")
    report = make(store, "report", source)
    assert report.manifest.inputs_verified
    rot(source)
    damage = find_damage(store)
    assert list(damage.broken) == [source] and damage.suspect == []


def test_what_an_earlier_version_made_goes_with_its_broken_input(store: Store) -> None:
    """And all that was made from that, verified or not: its bytes are as they were made, and wrong."""
    source, other = make(store, "source"), make(store, "other")
    checkpoint = make(store, "checkpoint", source, other)
    as_of_an_earlier_version(checkpoint)
    report = make(store, "report", checkpoint)
    beside = make(store, "beside", other)
    rot(source)
    damage = find_damage(store)
    assert list(damage.broken) == [source] and damage.count == 5
    assert damage.suspect == [checkpoint, report] and beside not in damage.suspect


def test_a_manifest_says_which_files_are_measurements(store: Store) -> None:
    manifest = make(store, "toy").manifest
    assert manifest.measurements == ["figures"]
    assert isinstance(manifest, Manifest) and all(isinstance(file, FileEntry) for file in manifest.files)
