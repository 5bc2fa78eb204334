"""The JSON Schemas of the YAML files: as the code has them, true of what is shipped, and of mistakes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from faq_pipeline.cli.schema import schema_text
from faq_pipeline.config.schema import KINDS
from faq_pipeline.settings import REPOSITORY
from tests.config.test_paths import FAMILY, STUDY
from tests.tiny import RECIPE

FOLDERS = {"recipe": "recipes", "family": "families", "study": "studies"}
DATA = REPOSITORY / "data"
SHIPPED = [
    (kind, path) for kind, folder in FOLDERS.items() for path in sorted((DATA / folder).glob("*.yaml"))
]


def problems(kind: str, tree: Any) -> list[str]:
    """What the tracked schema has against a file, deepest first."""
    validator = Draft202012Validator(json.loads((DATA / f"schemas/{kind}.json").read_text(encoding="utf-8")))
    errors = sorted(validator.iter_errors(tree), key=lambda error: -len(error.path))
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in errors]


def parsed(text: str) -> Any:
    return YAML(typ="safe").load(text)


@pytest.mark.parametrize("kind", KINDS)
def test_the_tracked_schema_is_the_codes(kind: str) -> None:
    tracked = (DATA / f"schemas/{kind}.json").read_text(encoding="utf-8")
    assert tracked == schema_text(kind) + "\n", f"faq schema {kind} > data/schemas/{kind}.json"
    Draft202012Validator.check_schema(json.loads(tracked))


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_is_described(kind: str) -> None:
    definitions = json.loads(schema_text(kind))["$defs"]
    keys = [(name, key, own) for name, one in definitions.items() for key, own in one["properties"].items()]
    assert len(keys) > 30
    assert [(name, key) for name, key, own in keys if not own.get("description")] == []


@pytest.mark.parametrize(("kind", "path"), SHIPPED, ids=lambda one: getattr(one, "stem", one))
def test_a_shipped_file_is_valid_and_tells_editors_its_schema(kind: str, path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert problems(kind, parsed(text)) == []
    (named,) = re.findall(r"^# yaml-language-server: \$schema=(.*)$", text, re.M)
    assert (
        text.startswith("# yaml-language-server")
        and (path.parent / named).resolve() == DATA / f"schemas/{kind}.json"
    )


@pytest.mark.parametrize(("kind", "text"), [("recipe", RECIPE), ("family", FAMILY), ("study", STUDY)])
def test_a_users_file_is_valid(kind: str, text: str) -> None:
    assert problems(kind, parsed(text)) == []


CHILD = "name: child\nextends: tiny-faq\n"


@pytest.mark.parametrize(
    ("kind", "text", "says"),
    [
        ("recipe", RECIPE.replace("  count: 8", "  cout: 8"), "'cout' was unexpected"),
        ("recipe", RECIPE.replace("  count: 8\n", ""), "seeds: 'count' is a required property"),
        ("recipe", RECIPE.replace("  tokens: 128", "  tokens: -1"), "calibration.tokens: -1 is less than"),
        ("recipe", RECIPE.replace("source: teacher", "source: oracle"), "'oracle' is not one of ['teacher',"),
        ("recipe", RECIPE.replace("group_size: channel", "group_size: x"), "group_size: 'x' is not valid"),
        ("recipe", CHILD + "quantization: {methd: rtn}\n", "'methd' was unexpected"),
        ("recipe", CHILD + "seeds: {count: many}\n", "seeds.count: 'many' is not of type 'integer', 'null'"),
        ("recipe", "name: child\nquantization: {method: rtn}\n", "'seeds' is a required property"),
        ("family", FAMILY.replace("development: ../", "developement: ../"), "'developement' was unexpected"),
        ("study", STUDY.replace("{scheme: W4A16}", "{shceme: W4A16}"), "'shceme' was unexpected"),
        ("study", STUDY.replace("draws: 2", "draws: 1"), "draws: 1 is not valid under any"),
    ],
)  # fmt: skip
def test_a_mistake_is_found(kind: str, text: str, says: str) -> None:
    assert any(says in problem for problem in problems(kind, parsed(text))), problems(kind, parsed(text))


@pytest.mark.parametrize(
    "text",
    [
        CHILD,
        CHILD
        + "baselines: null\nregeneration: {source: self, teacher: null, sampling: {max_new_tokens: 8}}\n",
        CHILD
        + "competition: {experts: {brevity: 1.0}}\nquantization: {method: damped-gptq, scheme: W4A16-MSE}\n",
    ],
)
def test_a_child_may_leave_out_take_away_and_name_plugins(text: str) -> None:
    assert problems("recipe", parsed(text)) == []


def test_names_of_built_in_parts_are_offered() -> None:
    recipe = json.loads(schema_text("recipe"))["$defs"]
    offered = recipe["Quantization"]["properties"]["method"]["anyOf"][0]["enum"]
    assert {"rtn", "gptq"} <= set(offered)
    assert "length" in recipe["Competition"]["properties"]["experts"]["properties"]
    assert recipe["Evaluation"]["properties"]["engine"]["anyOf"][0]["enum"] == ["transformers", "vllm"]
