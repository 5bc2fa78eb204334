"""The reference pages of the documentation site name all that there is. `make site` checks the links."""

from __future__ import annotations

import importlib.util
import json
import re
from types import ModuleType

import pytest

import faq_pipeline
from faq_pipeline.cli.main import app
from faq_pipeline.settings import REPOSITORY

pytest.importorskip("mkdocs", reason="the group docs is not installed")


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_pages", REPOSITORY / "docs/site_pages.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", ["recipe", "family", "study"])
def test_every_key_of_every_section_has_a_row(pages: ModuleType, kind: str) -> None:
    schema = json.loads((REPOSITORY / f"data/schemas/{kind}.json").read_text(encoding="utf-8"))
    sections = {name: one for name, one in schema["$defs"].items() if not name.endswith("Overlay")}
    keys = sorted(key for one in sections.values() for key in one.get("properties", {}))
    assert sorted(re.findall(r"^\| `(\w+)` \|", pages.keys(kind), re.MULTILINE)) == keys


def test_a_key_tells_its_default_and_bounds(pages: ModuleType) -> None:
    recipe = pages.keys("recipe")
    assert "| `originals` | number (>= 0, < 1) | `0` |" in recipe
    assert "| `plan` | [section](#quantization-plan) or null | `null` |" in recipe
    assert "| `scheme` |" in recipe and "## quantization.plan {#quantization-plan}" in recipe


def test_every_command_and_every_name_of_the_api_has_its_place(pages: ModuleType) -> None:
    commands = {f"faq {one.name or one.callback.__name__}" for one in app.registered_commands}
    assert commands <= set(re.findall(r"^## `(.+)`$", pages.command_line(), re.MULTILINE))
    shown = {name.rpartition(".")[2] for name in re.findall(r"^::: (.+)$", pages.python_api(), re.MULTILINE)}
    assert shown == set(faq_pipeline.__all__) - {"STAGES", "__version__"}
