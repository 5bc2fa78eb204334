"""The digests that tell one member from another: neither lost with the cache nor blind to a file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from faq_pipeline.config.family import Member
from faq_pipeline.models.weights import Weights, find_weights


@pytest.fixture
def folder(tiny_data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_data / "models/tiny-s", tmp_path / "tiny-s"))


def find(folder: Path, cache: Path) -> Weights:
    return find_weights(Member(name="tiny-s", path=folder, parameters=1), cache)


@pytest.mark.parametrize(
    "left",
    [b"", bytes(64), b"abc", b"0" * 64, b"0" * 64 + b" " + b"0" * 20],
    ids=lambda left: left[:70].decode(),
)
def test_a_torn_entry_of_the_digest_cache_changes_no_digest(
    folder: Path, tmp_path: Path, left: bytes
) -> None:
    """A cache entry that holds no digest is a miss: the file is digested again."""
    good = find(folder, tmp_path / "cache")
    for entry in (tmp_path / "cache").iterdir():
        entry.write_bytes(left)
    again = find(folder, tmp_path / "cache")
    assert (again.digest, again.tokenizer_digest) == (good.digest, good.tokenizer_digest)


@pytest.mark.parametrize(
    "name",
    [
        *("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model.v3", "tekken.json"),
        *("vocab.txt", "vocab.bpe", "qwen.tiktoken", "source.spm", "chat_template.json", "vocab.json"),
        *("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json"),
        *("special_tokens_map.json", "added_tokens.json", "additional_chat_templates/tools.jinja"),
    ],
)
def test_the_tokenizer_digest_covers_the_file(folder: Path, tmp_path: Path, name: str) -> None:
    """A tokenizer file that is replaced in place changes the member's tokenizer digest."""
    digests = set()
    (folder / name).parent.mkdir(exist_ok=True)
    for content in ("one", "another"):
        (folder / name).write_text(content)
        digests.add(find(folder, tmp_path / content).tokenizer_digest)
    assert len(digests) == 2
