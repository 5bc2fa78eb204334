"""Weights are complete, safe and digested before any model library is loaded."""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faq_pipeline.config.family import Member
from faq_pipeline.errors import FaqError
from faq_pipeline.models.folder_check import check_folder
from faq_pipeline.models.weights import (
    Weights,
    check_vocabulary,
    copy_companions,
    find_weights,
    has_vocabulary,
    vocabulary_digest,
)
from faq_pipeline.store.fingerprint import short_hash
from faq_pipeline.util.files import files_below

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(tiny_data: Path, tmp_path: Path) -> Path:
    """A copy of tiny-s that a test may spoil."""
    return Path(shutil.copytree(tiny_data / "models/tiny-s", tmp_path / "tiny-s"))


def member(folder: Path) -> Member:
    return Member(name="tiny-s", path=folder, parameters=1000)


def mistake(folder: Path) -> FaqError:
    with pytest.raises(FaqError) as error:
        find_weights(member(folder), folder.parent / "digests")
    assert "\n" not in str(error.value)
    return error.value


def test_a_sound_folder_has_a_lasting_digest(folder: Path, tmp_path: Path) -> None:
    first = find_weights(member(folder), tmp_path / "digests")
    assert first == find_weights(member(folder), tmp_path / "digests")
    copy = Path(shutil.copytree(folder, tmp_path / "elsewhere"))
    second = find_weights(member(copy), tmp_path / "digests")
    assert (first.digest, first.tokenizer_digest) == (second.digest, second.tokenizer_digest)
    assert first.partition == f"tiny-s@{first.digest[:8]}"
    assert first.context == 512


def test_weights_and_tokenizer_have_digests_of_their_own(folder: Path, tmp_path: Path) -> None:
    before = find_weights(member(folder), tmp_path / "digests")
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text() + "{# another #}")
    after = find_weights(member(folder), tmp_path / "digests")
    assert after.digest == before.digest and after.tokenizer_digest != before.tokenizer_digest
    assert vocabulary_digest(after) == vocabulary_digest(before)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "rope_theta": 1}))
    last = find_weights(member(folder), tmp_path / "digests")
    assert last.digest != before.digest and last.tokenizer_digest == after.tokenizer_digest


def test_a_readme_does_not_count(folder: Path, tmp_path: Path) -> None:
    before = find_weights(member(folder), tmp_path / "digests")
    (folder / "README.md").write_text("A model card.")
    assert find_weights(member(folder), tmp_path / "digests") == before


def test_one_flipped_bit_is_another_digest(folder: Path, tmp_path: Path) -> None:
    before = find_weights(member(folder), tmp_path / "digests")
    shard = folder / "model.safetensors"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    assert find_weights(member(folder), tmp_path / "digests").digest != before.digest


def test_digests_of_unchanged_files_are_remembered(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = find_weights(member(folder), tmp_path / "digests")

    def read(path: Path) -> str:
        raise AssertionError(f"{path} was read again")

    monkeypatch.setattr("faq_pipeline.models.weights.hash_file", read)
    monkeypatch.setattr("faq_pipeline.models.finite_weights.read_header", read)
    assert find_weights(member(folder), tmp_path / "digests") == before


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "member 'tiny-s' has no weights here"),
        ("config.json", "member 'tiny-s' has no weights here"),
        ("model.safetensors", "member 'tiny-s': no *.safetensors in this folder"),
        ("tokenizer_config.json", "member 'tiny-s' has no tokenizer here"),
    ],
)
def test_what_is_missing_is_named(folder: Path, name: str, says: str) -> None:
    if name:
        (folder / name).unlink()
    else:
        shutil.rmtree(folder)
    error = mistake(folder)
    assert error.problem == says and error.file == folder


def test_pickled_weights_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    error = mistake(folder)
    assert "not safetensors (pytorch_model.bin)" in error.problem and "convert" in error.hint


def test_a_missing_shard_is_named(folder: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "shard model-00002.safetensors is missing" in mistake(folder).problem


@pytest.mark.parametrize("name", ["../other/x.safetensors", "/model.safetensors", "sub/x.safetensors"])
def test_a_shard_elsewhere_is_refused(folder: Path, name: str) -> None:
    """Even if a file is there."""
    for place in (folder.parent / "other", folder / "sub"):
        place.mkdir()
        shutil.copy(folder / "model.safetensors", place / "x.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    error = mistake(folder)
    assert error.problem == f"member 'tiny-s': shard {name} is not in this folder"
    assert error.file == folder / "model.safetensors.index.json"


@pytest.mark.parametrize("index", [{"weight_map": []}, {"weight_map": {"a": 1}}], ids=str)
def test_an_index_of_another_form_is_refused(folder: Path, index: dict[str, object]) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "not an index" in mistake(folder).problem


def test_a_shard_may_be_a_link_to_a_blob_of_the_hub_cache_and_to_nothing_else(
    folder: Path, tmp_path: Path
) -> None:
    snapshot = tmp_path / "models--owner--tiny/snapshots" / COMMIT
    blobs = tmp_path / "models--owner--tiny/blobs"
    for place in (snapshot, blobs):
        place.mkdir(parents=True)
    for file in folder.iterdir():
        shutil.copy(file, blobs / f"blob-of-{file.name}")
        (snapshot / file.name).symlink_to(f"../../blobs/blob-of-{file.name}")
    index = json.dumps({"weight_map": {"a": "model.safetensors"}})
    (snapshot / "model.safetensors.index.json").write_text(index)
    (tmp_path / "link").symlink_to(snapshot)  # the folder itself may be a link
    found = [find_weights(member(place), tmp_path / "digests") for place in (snapshot, tmp_path / "link")]
    assert found[0].digest == found[1].digest == find_weights(member(folder), tmp_path / "digests").digest
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors").symlink_to(folder / "model.safetensors")
    assert mistake(snapshot).problem == "member 'tiny-s': shard model.safetensors is not in this folder"


def test_the_same_size_and_time_do_not_make_the_same_file(folder: Path, tmp_path: Path) -> None:
    """A restored time, a replaced inode, and a change within one tick of the clock."""
    shard = folder / "model.safetensors"
    content = bytearray(shard.read_bytes())
    digests = set()
    for byte in range(3):
        content[-1] = byte
        shard.write_bytes(content)
        os.utime(shard, ns=(1, 1))
        digests.add(find_weights(member(folder), tmp_path / "digests").digest)
    fresh = folder / "fresh"
    content[-1] = 3
    fresh.write_bytes(content)
    os.utime(fresh, ns=(1, 1))
    fresh.replace(shard)
    digests.add(find_weights(member(folder), tmp_path / "digests").digest)
    assert len(digests) == 4


def spelled(folder: Path, spelling: str) -> None:
    """Write the folder's tokenizer in another way."""
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    model = content["model"]
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    if spelling == "spaced":
        path.write_text(json.dumps(content, indent=7))
    elif spelling == "turned":
        model["vocab"] = dict(reversed(model["vocab"].items()))
        path.write_text(json.dumps(dict(reversed(content.items()))))
    elif spelling in ("pairs", "texts"):
        model["merges"] = [" ".join(pair) for pair in pairs] if spelling == "texts" else pairs
        path.write_text(json.dumps(content))
    else:
        path.unlink()
        (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
        lines = ["#version: 0.2", *(" ".join(pair) for pair in pairs)]
        (folder / "merges.txt").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("spelling", ["spaced", "turned", "pairs", "texts", "files"])
def test_equal_tokenizers_are_equal_however_they_are_spelled(
    folder: Path, tmp_path: Path, spelling: str
) -> None:
    plain = find_weights(member(folder), tmp_path / "digests")
    before = vocabulary_digest(plain)
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    spelled(other, spelling)
    found = find_weights(member(other), tmp_path / "digests")
    assert vocabulary_digest(found) == before
    check_vocabulary(found, plain)


def test_a_vocabulary_recorded_by_an_earlier_version_is_known_again(folder: Path, tmp_path: Path) -> None:
    """It depended on how merges were spelled."""
    spelled(folder, "texts")
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    recorded = short_hash(json.dumps([model["vocab"], model["merges"]], sort_keys=True).encode())
    found = find_weights(member(folder), tmp_path / "digests")
    assert vocabulary_digest(found) != recorded
    assert has_vocabulary(found, recorded) and not has_vocabulary(found, "0" * 20)


def test_other_vocabularies_are_told_apart_without_a_tokenizer_json(folder: Path, tmp_path: Path) -> None:
    digests = set()
    (folder / "tokenizer.json").unlink()
    for name in ("tokenizer.model", "vocab.txt"):
        for content in ("one\ntwo\n", "one\nthree\n"):
            (folder / name).write_text(content)
            (folder / "chat_template.jinja").write_text(content)
            found = find_weights(member(folder), tmp_path / "digests")
            digests.add(vocabulary_digest(found))
            (folder / "chat_template.jinja").write_text("another")
            again = find_weights(member(folder), tmp_path / "digests")
            assert vocabulary_digest(again) == vocabulary_digest(found), "a template is no vocabulary"
    assert len(digests) == 4


def test_every_form_of_a_member_takes_over_its_tokenizer(folder: Path, tmp_path: Path) -> None:
    further = ("vocab.txt", "preprocessor_config.json", "additional_chat_templates/tools.jinja")
    for name in (*further, "notes.md"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("{}")
    copy_companions(folder, tmp_path / "copy")
    copied = {path.relative_to(tmp_path / "copy").as_posix() for path in files_below(tmp_path / "copy")}
    assert copied == {
        *("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"),
        *further,
    }


@settings(max_examples=30)
@given(st.data())
def test_a_file_cut_or_grown_anywhere_is_corrupt(folder: Path, data: st.DataObject) -> None:
    shard = folder / "model.safetensors"
    whole = shard.read_bytes()
    (header,) = struct.unpack("<Q", whole[:8])
    near = st.sampled_from([0, 1, 7, 8, 9, 7 + header, 8 + header, len(whole) - 1])
    cut = data.draw(near | st.integers(0, len(whole) - 1))
    try:
        for spoilt in (whole[:cut], whole + whole[: cut + 1]):
            shard.write_bytes(spoilt)
            error = mistake(folder)
            assert error.problem.startswith("corrupt safetensors file") and error.file == shard
    finally:
        shard.write_bytes(whole)


@pytest.mark.parametrize(
    "header", [b"[]", b'"text"', b"7", b"\xff\xff", b'{"a": 1}', b'{"a": {"data_offsets": []}}']
)
def test_a_header_of_another_form_is_corrupt(folder: Path, header: bytes) -> None:
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert mistake(folder).problem.startswith("corrupt safetensors file")


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_broken_config_is_a_plain_mistake(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    assert mistake(folder).file == folder / "config.json"


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_remote_code_is_refused(folder: Path, name: str) -> None:
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**content, "auto_map": {"AutoModel": "m.Model"}}))
    error = mistake(folder)
    assert error.problem == "member 'tiny-s' asks for remote code"
    assert "pinned revision" in error.hint
    pinned = Member(name="tiny-s", hub="owner/m", revision=COMMIT, parameters=1, trust_remote_code=True)
    check_folder(pinned, folder)


def test_a_hub_member_is_its_commit_and_nothing_is_fetched(tmp_path: Path) -> None:
    hub = Member(name="big", hub="owner/big", revision=COMMIT, parameters=8_000_000_000)
    found = find_weights(hub, tmp_path)
    assert found == Weights(hub, COMMIT, f"owner/big@{COMMIT}")
    assert found.partition == "big@01234567"
