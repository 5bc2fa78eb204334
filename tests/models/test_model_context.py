"""The context length is found where architectures keep it, and never made up."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from faq_pipeline.config.family import Member
from faq_pipeline.errors import FaqError
from faq_pipeline.models.model_context import context_of
from faq_pipeline.models.weights import Weights, find_weights

FILE = Path("config.json")


@pytest.mark.parametrize(
    ("config", "tokens"),
    [
        ({"max_position_embeddings": 512}, 512),
        ({"n_positions": 256}, 256),
        ({"seq_length": 64, "hidden_size": 8}, 64),
        ({"text_config": {"max_position_embeddings": 8192}}, 8192),
        ({"text_config": {"max_position_embeddings": 8192}, "max_position_embeddings": 77}, 8192),
        ({"text_config": {"hidden_size": 8}, "max_position_embeddings": 77}, 77),
        ({"max_position_embeddings": None, "n_ctx": 32}, 32),
        ({"vision_config": {"max_position_embeddings": 77}}, None),
        ({}, None),
    ],
    ids=str,
)
def test_where_it_is(config: dict[str, Any], tokens: int | None) -> None:
    assert context_of(config, FILE) == tokens


@pytest.mark.parametrize("value", [0, -1, "4096", 4096.5, True, [4096]], ids=repr)
def test_what_is_no_number_of_tokens_is_refused(value: object) -> None:
    with pytest.raises(FaqError, match=r"config.json: max_position_embeddings is "):
        context_of({"max_position_embeddings": value}, FILE)


def member(folder: Path, config: dict[str, Any]) -> Weights:
    (folder / "config.json").write_text(json.dumps(config))
    return find_weights(Member(name="m", path=folder, parameters=1), folder.parent / "digests")


def test_what_the_file_leaves_out_is_the_architectures(tiny_data: Path, tmp_path: Path) -> None:
    """Gemma-3's files have no context length; Mamba has none at all."""
    folder = Path(shutil.copytree(tiny_data / "models/tiny-s", tmp_path / "m"))
    gemma = {"model_type": "gemma3", "text_config": {"model_type": "gemma3_text", "hidden_size": 64}}
    assert member(folder, gemma).context == 131_072
    with pytest.raises(FaqError, match="'m' has no context length here") as caught:
        assert member(folder, {"model_type": "mamba"}).context
    assert caught.value.file == folder / "config.json"
