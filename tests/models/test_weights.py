"""Weights are complete, safe and digested before any model library is loaded."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faq_pipeline.config.family import Member
from faq_pipeline.errors import FaqError
from faq_pipeline.models.weights import Weights, check_folder, find_weights, vocabulary_digest

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
    assert find_weights(member(folder), tmp_path / "digests") == before


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "member 'tiny-s' has no weights here"),
        ("config.json", "member 'tiny-s' has no weights here"),
        ("model.safetensors", "member 'tiny-s': weights are missing"),
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
