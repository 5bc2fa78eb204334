"""The shipped members: they load, and they are what the catalogue and their records say."""

from __future__ import annotations

import json
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from training import card, model
from training.family import TOKENIZER_FILES
from training.settings import MODELS, ROOT, TOKENIZER, settings, shipped_members
from training.tasks import names

MEMBERS = shipped_members()


def _record(name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((MODELS / name / "training.json").read_text(encoding="utf-8"))
    return record


@pytest.fixture(scope="module")
def family() -> dict[str, Any]:
    text = (ROOT / "data" / "families" / "kin.yaml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def test_the_family_lists_all_members(family: dict[str, Any]) -> None:
    assert MEMBERS == ("kin-2m", "kin-4m", "kin-8m")
    assert tuple(member["name"] for member in family["members"]) == MEMBERS
    for member in family["members"]:
        assert (ROOT / "data" / "families" / member["path"]).resolve() == MODELS / member["name"]


@pytest.mark.parametrize("name", MEMBERS)
def test_parameter_counts(name: str, family: dict[str, Any]) -> None:
    (stated,) = (m["parameters"] for m in family["members"] if m["name"] == name)
    shards = sorted((MODELS / name).glob("*.safetensors"))
    assert shards
    assert all(shard.stat().st_size <= 16 * 2**20 for shard in shards)
    stored = {}
    for shard in shards:
        with safe_open(shard, framework="pt") as weights:
            for key in weights.keys():  # noqa: SIM118  (not a dictionary)
                stored[key] = weights.get_slice(key)
    assert {weight.get_dtype() for weight in stored.values()} == {"BF16"}
    assert sum(prod(weight.get_shape()) for weight in stored.values()) == stated
    assert _record(name)["parameters"] == stated
    loaded = AutoModelForCausalLM.from_pretrained(str(MODELS / name))
    assert loaded.num_parameters() == stated
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight


@pytest.mark.parametrize("name", MEMBERS)
def test_configurations(name: str) -> None:
    loaded = AutoConfig.from_pretrained(str(MODELS / name))
    made = model.config(settings().shapes[name], settings().vocabulary)
    ignored = {"architectures", "dtype", "transformers_version", "_name_or_path"}
    shipped, expected = (
        {key: value for key, value in c.to_dict().items() if key not in ignored} for c in (loaded, made)
    )
    assert shipped == expected
    assert loaded.model_type == "qwen3"


@pytest.mark.parametrize("name", MEMBERS)
def test_tokenizers_are_the_shared_one(name: str) -> None:
    folder = MODELS / name
    assert sorted(path.name for path in TOKENIZER.iterdir()) == sorted(TOKENIZER_FILES)
    for file in TOKENIZER_FILES:
        assert (folder / file).read_bytes() == (TOKENIZER / file).read_bytes(), file
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    config = AutoConfig.from_pretrained(str(folder))
    assert len(tokenizer) == config.vocab_size
    assert (config.eos_token_id, config.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)


@pytest.mark.parametrize("name", MEMBERS)
def test_records_follow_the_settings(name: str) -> None:
    record, plan = _record(name), settings().plans[name]
    assert (record["planned_tokens"], record["rows"], record["learning_rate"]) == (
        plan.tokens,
        plan.rows,
        plan.lr,
    )
    assert (record["seed"], record["row_tokens"]) == (settings().seed, settings().row_tokens)
    assert record["mix"] == asdict(settings().mix)
    assert record["shortened"] == []
    assert record["tokens"] == record["steps"] * plan.rows * settings().row_tokens
    assert 0 <= plan.tokens - record["tokens"] < plan.rows * settings().row_tokens
    score = record["evaluation"]
    assert score["split"] == "development"
    assert tuple(score["tasks"]) == names()
    mean = sum(task["accuracy"] for task in score["tasks"].values()) / len(names())
    assert score["accuracy"] == pytest.approx(mean, abs=0.002)


@pytest.mark.parametrize("name", MEMBERS)
def test_cards_state_the_record(name: str) -> None:
    record = _record(name)
    text = (MODELS / name / "README.md").read_text(encoding="utf-8")
    assert text == card.text(record)
    assert f"**{record['evaluation']['accuracy']:.1%}**" in text


def test_a_card_without_every_level(tmp_path: Path) -> None:
    record = _record("kin-2m")
    record["evaluation"]["tasks"] = {"swap": {"accuracy": 0.5, "levels": {"2": 0.5}}}
    (tmp_path / "training.json").write_text(json.dumps(record), encoding="utf-8")
    card.write(tmp_path)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "| swap | 50.0% | - | 50% | - | - |" in text
    del record["evaluation"]
    assert "## Accuracy" not in card.text(record)


def test_the_readme_states_the_records() -> None:
    """Times, losses and accuracies in training/README.md are those of training.json."""
    rows = (ROOT / "training" / "README.md").read_text(encoding="utf-8").splitlines()
    for name in MEMBERS:
        record = _record(name)
        (row,) = (line for line in rows if line.startswith(f"| {name} |"))
        for stated in (
            f"{record['parameters'] / 1e6:.2f} M",
            f"{record['tokens'] / 1e6:.0f} M",
            f"{record['steps']:,}",
            f"{record['seconds']:.0f} s",
            f"{record['final_loss']:.3f}",
            f"{record['evaluation']['accuracy']:.1%}",
        ):
            assert f"| {stated} |" in row, (name, stated)
    for task in ("swap", "table", "letters", "modulo", "order", "story", "multiply"):
        (row,) = (line for line in rows if line.startswith(f"| {task} |"))
        cells = [f"{_record(name)['evaluation']['tasks'][task]['accuracy']:.1%}" for name in MEMBERS]
        assert row == f"| {task} | " + " | ".join(cells) + " |"
