"""Damage to an artifact's files is found, and what cannot be read for a moment is not thrown away."""

from __future__ import annotations

import builtins
import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from faq_pipeline.errors import FaqError
from faq_pipeline.quantization.export import export
from faq_pipeline.store.artifact import MANIFEST, Artifact
from faq_pipeline.store.fingerprint import fingerprint
from faq_pipeline.store.store import Key, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def toy_key() -> Key:
    return Key("toy", 1, "a" * 20, {"x": 1}, {}, {})


@pytest.mark.parametrize("changed", ["metadata", "digest", "identity", "fingerprint"])
def test_verify_finds_a_changed_manifest(store: Store, changed: str) -> None:
    """`verify` reports a manifest of which one character changed, whatever it describes."""

    def build(folder: Path) -> dict[str, Any]:
        (folder / "data.txt").write_text("1")
        return {"recovery": 0.9412}

    artifact, _ = store.produce(toy_key(), build)
    old, new = {
        "metadata": ("0.9412", "0.9912"),
        "digest": (artifact.digest, ("1" if artifact.digest[0] == "0" else "0") + artifact.digest[1:]),
        "identity": ('"x": 1', '"x": 3'),
        "fingerprint": ("a" * 20, "b" + "a" * 19),
    }[changed]
    manifest = artifact.path / MANIFEST
    text = manifest.read_text()
    assert not store.verify(artifact) and old in text
    manifest.write_text(text.replace(old, new))
    assert store.verify(Artifact(artifact.path))


@contextmanager
def unreadable(name: str, code: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every attempt to open a file of this name fails with this error number."""
    real = io.open

    def failing(file: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(file, str | os.PathLike) and Path(file).name == name:
            raise OSError(code, os.strerror(code), str(file))
        return real(file, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(io, "open", failing)
        patch.setattr(builtins, "open", failing)
        yield


@pytest.mark.parametrize(
    "code", [errno.EIO, errno.ESTALE, errno.EACCES, errno.EMFILE], ids=errno.errorcode.get
)
def test_a_read_error_replaces_no_artifact(store: Store, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the manifest cannot be read, nothing is built and the committed artifact stays."""
    built = 0

    def build(folder: Path) -> dict[str, Any]:
        nonlocal built
        built += 1
        (folder / "data.txt").write_text("1")
        return {}

    artifact, _ = store.produce(toy_key(), build)
    folder = artifact.path.stat().st_ino
    with unreadable(MANIFEST, code, monkeypatch), suppress(OSError, FaqError):
        store.produce(toy_key(), build)
    assert built == 1
    assert artifact.path.stat().st_ino == folder
    assert store.produce(toy_key(), build)[1], "a hit again, once the manifest can be read"


@pytest.fixture
def checkpoint(store: Store) -> Artifact:
    def build(folder: Path) -> dict[str, Any]:
        (folder / "checkpoint").mkdir()
        save_file({"a": np.zeros(9)}, folder / "checkpoint/model.safetensors")
        (folder / "checkpoint/config.json").write_text("{}")
        return {}

    return store.produce(Key("quantized_checkpoint", 1, "a" * 20, {}, {}, {}), build)[0]


def test_export_refuses_a_damaged_checkpoint(checkpoint: Artifact, tmp_path: Path) -> None:
    """A checkpoint of which a bit flipped is not exported, as it is not published."""
    weights = checkpoint.file("checkpoint/model.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    refused = False
    try:
        export(checkpoint, tmp_path / "exported")
    except FaqError:
        refused = True
    assert refused
    assert not (tmp_path / "exported").exists()


def test_exported_files_have_the_modes_of_the_umask(checkpoint: Artifact, tmp_path: Path) -> None:
    """With umask 022, other users can read the exported files."""
    before = os.umask(0o022)
    try:
        folder = export(checkpoint, tmp_path / "exported")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {"model.safetensors": 0o644, "config.json": 0o644}


def test_no_report_of_damaged_bytes_outlives_the_repair(store: Store) -> None:
    """After `cache gc --broken` and a new run, no artifact is left that was made from damaged bytes."""

    def checkpoint() -> Artifact:
        def build(folder: Path) -> dict[str, Any]:
            (folder / "weights").write_text("good")
            return {}

        name = fingerprint("checkpoint", 1, {}, {})
        return store.produce(Key("checkpoint", 1, name, {}, {}, {}), build)[0]

    def report(of: Artifact) -> Artifact:
        def build(folder: Path) -> dict[str, Any]:
            (folder / "report").write_text(of.file("weights").read_text())
            return {}

        inputs = {"checkpoint": of.digest}
        name = fingerprint("report", 1, {}, inputs)
        key = Key("report", 1, name, {}, inputs, {"checkpoint": of.fingerprint})
        return store.produce(key, build)[0]

    checkpoint().file("weights").write_text("BAD!")
    with suppress(FaqError):  # the damage may be found here already
        report(checkpoint())
    for artifact in list(store.folders()):
        if store.verify(artifact):
            store.remove(artifact)
    assert report(checkpoint()).file("report").read_text() == "good"
