"""Packed weights give back the file byte for byte, or nothing; a member does not change by being packed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faq_pipeline.config.catalog import Catalog
from faq_pipeline.config.family import Member
from faq_pipeline.errors import FaqError
from faq_pipeline.models import packed_weights
from faq_pipeline.models.loading import load_model
from faq_pipeline.models.packed_weights import pack, unpack
from faq_pipeline.models.weights import Weights, find_weights
from faq_pipeline.settings import REPOSITORY
from faq_pipeline.store.fingerprint import hash_file
from faq_pipeline.util.memoize import memoizing

ANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_weights, "BLOCK", 16)


@pytest.fixture
def plain(tiny_data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_data / "models/tiny-s", tmp_path / "plain"))


@pytest.fixture
def folder(plain: Path, tmp_path: Path) -> Path:
    """tiny-s with packed weights."""
    found = Path(shutil.copytree(plain, tmp_path / "packed"))
    shard = found / "model.safetensors"
    pack(shard, found / "model.safetensors.packed")
    shard.unlink()
    return found


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def found(folder: Path, cache: Path) -> Weights:
    return find_weights(Member(name="tiny-s", path=folder, parameters=1000), cache)


def mistake(folder: Path, cache: Path) -> FaqError:
    with pytest.raises(FaqError) as error:
        found(folder, cache)
    assert "\n" not in str(error.value)
    return error.value


# --- the form ---


@ANY
@given(content=st.binary(max_size=100))
def test_any_file_comes_back(content: bytes, tmp_path: Path, small_blocks: None) -> None:
    source, packed, back = tmp_path / "a", tmp_path / "a.packed", tmp_path / "b"
    source.write_bytes(content)
    pack(source, packed)
    unpack(packed, back)
    assert back.read_bytes() == content


@ANY
@given(data=st.data())
def test_a_damaged_file_is_refused_and_leaves_nothing(
    data: st.DataObject, tmp_path: Path, small_blocks: None
) -> None:
    source, packed, back = tmp_path / "a", tmp_path / "a.packed", tmp_path / "b"
    source.write_bytes(bytes(range(50)))
    pack(source, packed)
    content = bytearray(packed.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    how = data.draw(st.sampled_from(["flip", "cut", "insert", "append"]))
    if how == "flip":
        content[place] ^= data.draw(st.integers(1, 255))
    elif how == "cut":
        del content[place:]
    elif how == "insert":
        content.insert(place, data.draw(st.integers(0, 255)))
    else:
        content += b"x"
    packed.write_bytes(content)
    back.unlink(missing_ok=True)
    try:
        unpack(packed, back)
    except FaqError as error:
        assert str(packed) in str(error) and "\n" not in str(error)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a.packed"]
    else:  # a change that says nothing, as of a space in the header
        assert back.read_bytes() == source.read_bytes()


def test_weights_in_bf16_take_two_thirds(tmp_path: Path) -> None:
    words = np.random.default_rng(0).normal(0, 0.02, 2**18).astype("<f4").view("<u4") >> 16
    (tmp_path / "a").write_bytes(words.astype("<u2").tobytes())
    pack(tmp_path / "a", tmp_path / "a.packed")
    assert (tmp_path / "a.packed").stat().st_size < 0.70 * (tmp_path / "a").stat().st_size


def test_a_later_version_is_told_apart_from_damage(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"weights")
    pack(tmp_path / "a", tmp_path / "a.packed")
    content = (tmp_path / "a.packed").read_bytes()
    (tmp_path / "a.packed").write_bytes(content.replace(b'"version": 1', b'"version": 2', 1))
    with pytest.raises(FaqError, match="of version 2; this faq-pipeline reads version 1"):
        unpack(tmp_path / "a.packed", tmp_path / "b")


# --- member folders ---


def test_a_member_is_the_same_plain_or_packed(plain: Path, folder: Path, cache: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    one, other = found(plain, cache), found(folder, cache)
    assert (one.digest, one.tokenizer_digest, one.partition) == (
        other.digest,
        other.tokenizer_digest,
        other.partition,
    )
    assert hash_file(other.folder / "model.safetensors") == hash_file(plain / "model.safetensors")
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}
    models = [load_model(weights, "cpu").state_dict() for weights in (one, other)]
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])


@pytest.mark.parametrize("remember", [False, True])
def test_a_spoilt_copy_is_made_again(folder: Path, cache: Path, remember: bool) -> None:
    first = found(folder, cache)
    shard, config = first.folder / "model.safetensors", first.folder / "config.json"
    for spoil in (
        lambda: shard.unlink(),
        lambda: shard.write_bytes(shard.read_bytes()[:-1] + b"?"),
        lambda: shard.write_bytes(b""),
        lambda: config.write_text("{}"),
        lambda: shutil.rmtree(first.folder),
    ):
        spoil()
        if remember:
            with memoizing():
                assert found(folder, cache) == first
        assert found(folder, cache) == first
        assert not list(first.folder.glob(".*"))


def test_a_changed_folder_has_a_copy_of_its_own(folder: Path, cache: Path) -> None:
    first = found(folder, cache)
    (folder / "generation_config.json").write_text('{"eos_token_id": [1]}')
    second = found(folder, cache)
    assert second.digest != first.digest and second.folder != first.folder
    assert json.loads((first.folder / "generation_config.json").read_text() or "{}") != {"eos_token_id": [1]}


def test_both_forms_at_once_are_refused(plain: Path, folder: Path, cache: Path) -> None:
    shutil.copyfile(plain / "model.safetensors", folder / "model.safetensors")
    assert mistake(folder, cache).problem == "model.safetensors.packed is here as model.safetensors too"


def test_a_packed_shard_counts_as_there(folder: Path, cache: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert mistake(folder, cache).problem == "member 'tiny-s': shard model-00002.safetensors is missing"


def test_mistakes_name_the_users_own_file(folder: Path, cache: Path) -> None:
    packed = folder / "model.safetensors.packed"
    sound = packed.read_bytes()
    for content in (b"", b"{}\n", sound[:-9], sound[:600] + b"?" + sound[601:]):
        packed.write_bytes(content)
        error = mistake(folder, cache)
        assert (error.problem, error.file) == ("damaged packed weights", packed)
    packed.write_bytes(sound)
    (folder / "tokenizer_config.json").unlink()
    assert mistake(folder, cache).file == folder


def test_what_is_packed_must_be_weights(folder: Path, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no weights")
    pack(tmp_path / "text", folder / "model.safetensors.packed")
    assert mistake(folder, cache).problem.startswith("corrupt safetensors file")


def test_a_cache_that_cannot_be_written_is_told(folder: Path, cache: Path) -> None:
    cache.mkdir()
    (cache / "unpacked").write_text("a file")
    error = mistake(folder, cache)
    assert "weights cannot be unpacked into" in error.problem and "FAQ_HOME" in error.hint


def test_shipped_members_have_the_revisions_that_results_name(tmp_path: Path) -> None:
    catalog = Catalog((REPOSITORY / "data",))
    members = (catalog.member(name)[1] for name in ("kin-2m", "kin-4m", "kin-8m", "moss-3m"))
    assert [find_weights(member, tmp_path).partition for member in members] == [
        "kin-2m@72010fd6",
        "kin-4m@913c62bf",
        "kin-8m@23ea0e56",
        "moss-3m@73085577",
    ]
