"""Families, members and recipes are found by name; what is unsafe or double is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from faq_pipeline.config.catalog import Catalog
from faq_pipeline.config.files import load_family
from faq_pipeline.errors import FaqError
from faq_pipeline.evaluation.comparison import one_original, unfair_baselines
from faq_pipeline.settings import REPOSITORY
from tests.tiny import FAMILY, RECIPE

TINY = FAMILY.format(small=1000, large=2000)
COMMIT = "0123456789abcdef0123456789abcdef01234567"
LOCAL = "    path: ../models/tiny-s\n"


def hub(revision: str = COMMIT, more: str = "") -> str:
    return f"    hub: owner/model\n    revision: {revision}\n{more}"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for folder, name, text in (
        ("families", "tiny", TINY),
        ("recipes", "tiny-faq", RECIPE),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.yaml").write_text(text)
    return tmp_path


def mistake(path: Path, text: str) -> FaqError:
    path.write_text(text)
    with pytest.raises(FaqError) as error:
        load_family(path)
    return error.value


def test_members_and_recipes_by_name(data: Path) -> None:
    catalog = Catalog((data,))
    family, member = catalog.member("tiny-l")
    assert (family.name, member.parameters) == ("tiny", 2000)
    assert catalog.recipe("tiny-faq").title == "FAQ on the tiny family"


def test_unknown_names_suggest_near_ones(data: Path) -> None:
    catalog = Catalog((data,))
    with pytest.raises(FaqError, match=r"unknown member 'tiny-x'.*did you mean 'tiny-"):
        catalog.member("tiny-x")
    with pytest.raises(FaqError, match=r"unknown recipe 'tinyfaq'.*did you mean 'tiny-faq'"):
        catalog.recipe("tinyfaq")
    with pytest.raises(FaqError, match="known: tiny-faq"):
        catalog.recipe("zzzzzz")


def test_a_folder_of_the_users_adds_and_never_replaces(data: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    (own / "recipes").mkdir(parents=True)
    (own / "families").mkdir()
    (own / "recipes/mine.yaml").write_text(RECIPE.replace("tiny-faq", "mine"))
    assert set(Catalog((data, own)).recipes) == {"tiny-faq", "mine"}
    (own / "recipes/tiny-faq.yaml").write_text(RECIPE)
    catalog = Catalog((data, own))
    assert set(catalog.recipes) == {"mine"}
    with pytest.raises(FaqError, match="recipe 'tiny-faq' is defined twice"):
        catalog.recipe("tiny-faq")
    (own / "families/tiny.yaml").write_text(TINY)
    with pytest.raises(FaqError, match="family 'tiny' is defined twice"):
        Catalog((data, own)).family("tiny")
    (own / "families/tiny.yaml").write_text(TINY.replace("name: tiny\n", "name: other\n"))
    catalog = Catalog((data, own))
    assert list(catalog.families) == ["tiny"]
    with pytest.raises(FaqError, match="member 'tiny-s' is already in family 'tiny'"):
        catalog.family("other")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (TINY.replace(LOCAL, ""), "needs either 'path' or 'hub'"),
        (TINY.replace(LOCAL, LOCAL + hub()), "needs either 'path' or 'hub'"),
        (TINY.replace(LOCAL, hub("main")), "'revision' must be a 40-digit commit hash"),
        (TINY.replace(LOCAL, "    hub: owner/model\n"), "'revision' must be a 40-digit commit hash"),
        (TINY.replace(LOCAL, LOCAL + "    trust_remote_code: true\n"), "'trust_remote_code' is allowed only"),
    ],
)  # fmt: skip
def test_a_member_without_a_pinned_source_is_refused(tmp_path: Path, text: str, says: str) -> None:
    error = mistake(tmp_path / "tiny.yaml", text)
    assert says in error.problem
    assert error.line == text.splitlines().index("  - name: tiny-s") + 1


def test_hub_members_are_of_allowed_owners(tmp_path: Path) -> None:
    text = TINY.replace(LOCAL, hub(more="    trust_remote_code: true\n"))
    error = mistake(tmp_path / "tiny.yaml", text)
    assert "owner of 'owner/model' is not in this family's 'owners'" in error.problem
    (tmp_path / "tiny.yaml").write_text("owners: [owner]\n" + text)
    assert load_family(tmp_path / "tiny.yaml").members[0].revision == COMMIT


def test_wrong_members_name_their_line(tmp_path: Path) -> None:
    text = TINY.replace("parameters: 2000", "parameters: many")
    error = mistake(tmp_path / "tiny.yaml", text)
    assert error.problem.startswith("members.1.parameters: ")
    assert error.line == text.splitlines().index("    parameters: many") + 1
    error = mistake(tmp_path / "tiny.yaml", TINY.replace("tiny-l", "tiny-s"))
    assert "member 'tiny-s' is listed twice" in error.problem
    error = mistake(tmp_path / "tiny.yaml", TINY.replace("parameters: 1000", "paramters: 1000"))
    assert error.problem == "unknown key 'members.0.paramters'" and "'parameters'" in error.hint


def test_paths_of_a_family_are_relative_to_its_file(data: Path) -> None:
    family = load_family(data / "families/tiny.yaml")
    assert family.members[0].path == data.resolve() / "models/tiny-s"
    assert family.development == data.resolve() / "eval/development.jsonl"


# --- the recipes that ship ---

SHIPPED = Catalog((REPOSITORY / "data",)).recipes


def test_what_is_compared_differs_in_the_calibration_data_alone() -> None:
    assert unfair_baselines(SHIPPED, dict.fromkeys(SHIPPED)) == {}


@pytest.mark.parametrize("name", [name for name, recipe in SHIPPED.items() if recipe.baselines])
def test_the_original_data_is_measured_raw_and_in_the_template(name: str) -> None:
    baselines = [SHIPPED[base] for base in SHIPPED[name].baselines]
    assert one_original(baselines) == ""
    assert all(base.regeneration.source == "original" and not base.baselines for base in baselines)


def test_what_is_regenerated_is_measured_against_the_originals() -> None:
    regenerated = [r for r in SHIPPED.values() if r.regeneration.source in ("teacher", "self")]
    assert regenerated and all(recipe.baselines for recipe in regenerated)


def test_round_to_nearest_is_no_measure_of_data() -> None:
    assert SHIPPED["rtn-w3a16"].baselines == []


# --- the discovery rules that ship ---


@pytest.mark.parametrize(
    ("family", "members", "others"),
    [
        ("kin", ["kin-2m", "kin-16m"], ["kin-tokenizer", "kin-4m-w3a16"]),
        (
            "qwen3",
            ["Qwen3-0.6B", "Qwen3-8B", "Qwen3-32B"],
            ["Qwen3-8B-Base", "Qwen3-8B-AWQ", "Qwen3-8B-FP8", "Qwen3-30B-A3B", "Qwen3-VL-8B", "Qwen2.5-7B"],
        ),
        (
            "llama3",
            ["Llama-3.1-8B-Instruct", "Llama-3.2-1B-Instruct", "Llama-3.3-70B-Instruct"],
            ["Llama-3.1-8B", "Llama-3.2-11B-Vision-Instruct", "Llama-3.2-1B-Instruct-QLORA_INT4_EO8"],
        ),
    ],
)
def test_rules_know_members_by_name(family: str, members: list[str], others: list[str]) -> None:
    rule = Catalog((REPOSITORY / "data",)).written[family].discovery
    assert rule is not None
    assert all(rule.names(name) for name in members) and not any(rule.names(name) for name in others)
