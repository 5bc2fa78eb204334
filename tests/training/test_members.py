"""The shipped members: they load, and they are what the catalogue and their records say."""

from __future__ import annotations

from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from training import card, model, record
from training.family import TOKENIZER_FILES
from training.packing import plain_folder
from training.settings import DATA, MODELS, ROOT, Settings, family_names, family_of, settings

FAMILIES = [settings(name) for name in family_names() if (DATA / "families" / f"{name}.yaml").exists()]
"""Those that the pipeline knows."""
MEMBERS = tuple(member.name for family in FAMILIES for member in family.shipped)


def _listed(family: Settings) -> list[dict[str, Any]]:
    """The members in the pipeline's file of a family."""
    text = (DATA / "families" / f"{family.name}.yaml").read_text(encoding="utf-8")
    members: list[dict[str, Any]] = yaml.safe_load(text)["members"]
    return members


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_family_lists_all_members(family: Settings) -> None:
    listed = _listed(family)
    assert [member["name"] for member in listed] == [member.name for member in family.shipped]
    for member in listed:
        assert (DATA / "families" / member["path"]).resolve() == MODELS / member["name"]


@pytest.mark.parametrize("name", MEMBERS)
def test_parameter_counts(name: str) -> None:
    with plain_folder(MODELS / name) as folder:
        _check_parameters(folder, name)


def _check_parameters(folder: Path, name: str) -> None:
    (stated,) = (m["parameters"] for m in _listed(family_of(name)) if m["name"] == name)
    shards = sorted(folder.glob("*.safetensors"))
    assert shards
    assert all(shard.stat().st_size <= 16 * 2**20 for shard in shards)
    stored = {}
    for shard in shards:
        with safe_open(shard, framework="pt") as weights:
            for key in weights.keys():  # noqa: SIM118  (not a dictionary)
                stored[key] = weights.get_slice(key)
    assert {weight.get_dtype() for weight in stored.values()} == {"BF16"}
    assert sum(prod(weight.get_shape()) for weight in stored.values()) == stated
    assert record.read(MODELS / name)["parameters"] == stated
    loaded = AutoModelForCausalLM.from_pretrained(str(folder))
    assert loaded.num_parameters() == stated
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight


@pytest.mark.parametrize("name", MEMBERS)
def test_configurations(name: str) -> None:
    loaded = AutoConfig.from_pretrained(str(MODELS / name))
    family = family_of(name)
    made = model.config(family, family.members[name].shape)
    ignored = {"architectures", "dtype", "transformers_version", "_name_or_path"}
    shipped, expected = (
        {key: value for key, value in c.to_dict().items() if key not in ignored} for c in (loaded, made)
    )
    assert shipped == expected
    assert loaded.model_type == {"kin": "qwen3", "moss": "llama"}[family.name]


@pytest.mark.parametrize("name", MEMBERS)
def test_tokenizers_are_the_shared_one(name: str) -> None:
    folder, shared = MODELS / name, family_of(name).tokenizer
    assert sorted(path.name for path in shared.iterdir()) == sorted(TOKENIZER_FILES)
    for file in TOKENIZER_FILES:
        assert (folder / file).read_bytes() == (shared / file).read_bytes(), file
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    config = AutoConfig.from_pretrained(str(folder))
    assert len(tokenizer) == config.vocab_size
    assert (config.eos_token_id, config.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)


@pytest.mark.parametrize("name", MEMBERS)
def test_records_follow_the_settings(name: str) -> None:
    family, made = family_of(name), record.read(MODELS / name)
    member = family.members[name]
    plan, step_tokens = member.plan, member.plan.rows * family.row_tokens
    assert (made["planned_tokens"], made["rows"], made["learning_rate"]) == (plan.tokens, plan.rows, plan.lr)
    assert (made["seed"], made["row_tokens"]) == (family.seed, family.row_tokens)
    assert made["mix"] == asdict(member.mix)
    assert made["tokens"] == made["steps"] * step_tokens
    assert bool(made["shortened"]) == (plan.tokens - made["tokens"] >= step_tokens)
    score = made["evaluation"]
    assert score["split"] == "development"
    assert tuple(score["tasks"]) == family.tasks
    mean = sum(task["accuracy"] for task in score["tasks"].values()) / len(family.tasks)
    assert score["accuracy"] == pytest.approx(mean, abs=0.002)


@pytest.mark.parametrize("name", MEMBERS)
def test_cards_state_the_record(name: str) -> None:
    made = record.read(MODELS / name)
    text = (MODELS / name / "README.md").read_text(encoding="utf-8")
    assert text == card.text(made)
    assert f"**{made['evaluation']['accuracy']:.1%}**" in text


def test_a_card_without_every_level(tmp_path: Path) -> None:
    made = record.read(MODELS / "kin-2m")
    del made["evaluation"]
    record.write(tmp_path, made)
    assert "## Accuracy" not in (tmp_path / "README.md").read_text(encoding="utf-8")
    tasks = {"swap": {"accuracy": 0.5, "levels": {"2": 0.5}}}
    scored = {"split": "development", "questions": 2, "accuracy": 0.5, "mean_tokens": 9, "tasks": tasks}
    record.add_evaluation(tmp_path, scored)
    assert record.read(tmp_path) == {**made, "evaluation": scored}
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "| swap | 50.0% | - | 50% | - | - |" in text


def test_a_card_names_its_own_family() -> None:
    made = {**record.read(MODELS / "kin-2m"), "member": "moss-2m", "beside": 2}
    text = card.text(made)
    assert "of the family `moss`" in text and "Llama architecture" in text and "tags: [llama," in text
    assert "`<reason>`" in text and "`reasoning=False`" in text and "shared with 2 other members" in text
    assert "kin" not in text and "think" not in text


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_readme_states_the_records(family: Settings) -> None:
    """Times, losses and accuracies in training/README.md are those of training.json."""
    rows = (ROOT / "training" / "README.md").read_text(encoding="utf-8").splitlines()
    made = [record.read(MODELS / member.name) for member in family.shipped]
    for one in made:
        (row,) = (line for line in rows if line.startswith(f"| {one['member']} |"))
        for stated in (
            f"{one['parameters'] / 1e6:.2f} M",
            f"{one['tokens'] / 1e6:.0f} M",
            f"{one['steps']:,}",
            f"{one['seconds']:.0f} s",
            f"{one['final_loss']:.3f}",
            f"{one['evaluation']['accuracy']:.1%}",
        ):
            assert f"| {stated} |" in row, (one["member"], stated)
    tabled = [line for line in rows if line.split(" | ")[0].removeprefix("| ") in family.tasks]
    assert len(tabled) >= 7
    for row in tabled:
        task = row.split(" | ")[0].removeprefix("| ")
        cells = [f"{one['evaluation']['tasks'][task]['accuracy']:.1%}" for one in made]
        assert row == f"| {task} | " + " | ".join(cells) + " |"


def test_the_readme_states_the_mixes() -> None:
    """The shares of documents in training/README.md are those of families/."""
    rows = (ROOT / "training" / "README.md").read_text(encoding="utf-8").splitlines()
    columns = [settings("kin").mix] + [member.mix for member in settings("moss").shipped]
    for kind in settings("kin").mix.documents:
        (row,) = (line for line in rows if line.startswith(f"| {kind} |"))
        assert row.startswith(f"| {kind} | " + " | ".join(str(mix.documents[kind]) for mix in columns) + " |")
