"""Parts that plugins add: looked up by name, run through a cell, part of the identity."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import faq_pipeline as faq
from faq_pipeline.calibration.selectors import SELECTORS
from faq_pipeline.calibration.selectors.protocol import Pool
from faq_pipeline.competition.experts import EXPERTS
from faq_pipeline.config.registry import Registry
from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.inference.factory import ENGINES
from faq_pipeline.quantization.methods import METHODS
from faq_pipeline.quantization.schemes import SCHEMES
from faq_pipeline.settings import REPOSITORY
from tests.orchestration.cli import FaqHere
from tests.plugins.conftest import DIST_INFO, SOURCE, Altered

METADATA = f"{DIST_INFO}/METADATA"
REGISTRIES: tuple[tuple[Registry[Any], str], ...] = (
    (EXPERTS, "brevity"),
    (SELECTORS, "shortest"),
    (ENGINES, "template"),
    (METHODS, "damped-gptq"),
    (SCHEMES, "W4A16-MSE"),
)
RECIPE = """\
name: tiny-plugin
extends: tiny-faq
title: A plugin in every place
regeneration: {engine: template}
competition: {experts: {brevity: 1.0, length: 0.5}}
calibration: {selection: shortest}
quantization: {method: damped-gptq, scheme: W4A16-MSE}
"""
USED = {
    "regenerated_corpus": {"engine template"},
    "competition_scores": {"expert brevity"},
    "calibration_set": {"selection shortest"},
    "quantized_checkpoint": {"quantization method damped-gptq", "scheme W4A16-MSE"},
}


@pytest.fixture(scope="module")
def data(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny family with a recipe that names all parts of the plugin."""
    folder = Path(shutil.copytree(tiny_data, tmp_path_factory.mktemp("data") / "data"))
    (folder / "recipes/tiny-plugin.yaml").write_text(RECIPE)
    return folder


@pytest.fixture
def settings(data: Path, tmp_path: Path) -> faq.Settings:
    return faq.Settings(tmp_path / "home", (data,), "cpu")


def plugins_of(identity: Any) -> dict[str, str]:
    """All that an identity says of plugins, wherever it says it."""
    if not isinstance(identity, dict):
        return {}
    found = dict(identity.get("plugins", {}))
    for value in identity.values():
        found |= plugins_of(value) if isinstance(value, dict) else {}
    return {part: plugin for part, plugin in found.items() if isinstance(plugin, str)}


def identities(cell: Cell) -> dict[str, dict[str, str]]:
    return {name: plugins_of(stage.identity(cell)) for name, stage in faq.STAGES.items()}


@pytest.mark.parametrize(("registry", "name"), REGISTRIES, ids=lambda one: getattr(one, "kind", None))
def test_a_plugins_part_is_found_by_name_once_it_is_installed(
    registry: Registry[Any], name: str, installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FaqError, match=f"unknown {registry.kind} '{name}'"):
        registry.find(name)
    monkeypatch.syspath_prepend(installed)
    assert registry.names == (*registry.built_in, name) and "faq_example_plugin" not in sys.modules
    assert registry.find(name) is registry.find(name)
    assert registry.plugins([name, *registry.built_in]) == {
        f"{registry.kind} {name}": "faq-example-plugin 0.1.0"
    }
    assert all(registry.find(own) is part for own, part in registry.built_in.items())
    with pytest.raises(FaqError) as error:
        registry.find(f"{name}x")
    assert f"did you mean '{name}'" in error.value.hint


def test_a_cell_is_quantized_with_all_parts_of_a_plugin(
    installed: Path, settings: faq.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(installed)
    cell = faq.resolve("tiny-s", "tiny-plugin", settings=settings)
    report = faq.materialize(cell, settings=settings)
    made = {name: one.artifact for name, one in faq.plan(cell, settings=settings).items()}
    assert report == made["eval_report"] and report.metadata["kl"]["value"] >= 0
    candidates = faq.read_rows(made["regenerated_corpus"], "candidates")
    assert {c.reasoning for c in candidates} and all("Mira has" in c.reasoning for c in candidates)
    scores = [s for s in faq.read_rows(made["competition_scores"], "scores") if s.expert == "brevity"]
    lengths = {c.id: -len(c.text) for c in candidates}
    assert scores and all(s.raw == lengths[s.candidate_id] for s in scores)
    assert made["calibration_set"].manifest.identity["calibration"]["selection"] == "shortest"
    assert SELECTORS.find("shortest").start(Pool([[1, 2, 3], [1], [1, 2]])).best([0, 1, 2]) == 1
    (checkpoint,) = faq.read_rows(made["quantized_checkpoint"])
    assert (checkpoint.method, checkpoint.scheme) == ("damped-gptq", "W4A16-MSE")
    for name, artifact in made.items():
        assert plugins_of(artifact.manifest.identity).keys() == USED.get(name, set())


def test_another_version_makes_artifacts_anew_and_built_in_parts_declare_nothing(
    installed: Path, altered: Altered, settings: faq.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.syspath_prepend(installed)
        cell = faq.resolve("tiny-s", "tiny-plugin", settings=settings)
        before = identities(cell)
    newer = DIST_INFO.replace("0.1.0", "0.2.0")
    monkeypatch.syspath_prepend(altered(METADATA, "Version: 0.1.0", "Version: 0.2.0", dist_info=newer))
    after = identities(cell)
    assert {name: set(found) for name, found in after.items() if found} == USED
    assert {v for found in before.values() for v in found.values()} == {"faq-example-plugin 0.1.0"}
    assert {v for found in after.values() for v in found.values()} == {"faq-example-plugin 0.2.0"}
    built_in = faq.resolve("tiny-s", "tiny-faq", settings=settings)
    assert all("plugins" not in str(stage.identity(built_in)) for stage in faq.STAGES.values())


def test_two_distributions_cannot_offer_one_name(
    installed: Path, altered: Altered, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = "acme_faq-0.1.0.dist-info"
    other = altered(METADATA, "Name: faq-example-plugin", "Name: acme-faq", dist_info=theirs)
    monkeypatch.syspath_prepend(installed)
    monkeypatch.syspath_prepend(other)
    with pytest.raises(FaqError) as error:
        EXPERTS.find("brevity")
    assert "expert 'brevity' is offered by" in error.value.problem
    assert "acme-faq 0.1.0" in error.value.problem and "faq-example-plugin 0.1.0" in error.value.problem
    assert EXPERTS.find("length") is EXPERTS.built_in["length"]


def test_a_plugin_cannot_replace_a_built_in_part(altered: Altered, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(altered(f"{DIST_INFO}/entry_points.txt", "brevity =", "length ="))
    with pytest.raises(FaqError) as error:
        EXPERTS.find("length")
    assert error.value.problem == "expert 'length' is offered by faq_pipeline and by faq-example-plugin 0.1.0"
    assert error.value.hint == "uninstall faq-example-plugin"


BREVITY = "faq_example_plugin/brevity.py"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("from faq_pipeline.comp", "from faq_gone.comp"), "ModuleNotFoundError: No module named 'faq_gone'"),
        (("BREVITY = Brevity()", "raise OSError('two\\nlines')"), "cannot be imported: OSError: two lines"),
        (("BREVITY = Brevity()", ""), "cannot be imported: AttributeError"),
        (("BREVITY = Brevity()", "BREVITY = Brevity"), "is a class, not an instance of it"),
        (("BREVITY = Brevity()", "BREVITY = 3"), "is without 'name'"),
        (("BREVITY = Brevity()", "BREVITY = Brevity('short')"), "calls itself 'short'"),
    ],
)  # fmt: skip
def test_a_broken_plugin_is_one_line_that_names_it(
    change: tuple[str, str], says: str, altered: Altered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(altered(BREVITY, *change))
    with pytest.raises(FaqError) as error:
        EXPERTS.find("brevity", "competition.experts.brevity")
    told = str(error.value)
    assert told.startswith(
        "expert 'brevity' of faq-example-plugin 0.1.0: faq_example_plugin.brevity:BREVITY "
    )
    assert says in told and "\n" not in told and error.value.key == "competition.experts.brevity"
    assert error.value.hint == "repair or uninstall faq-example-plugin"
    assert SELECTORS.find("shortest").name == "shortest"  # its other parts still work


def test_the_command_line_knows_plugins_and_names_the_line_where_one_is_missing(
    installed: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = FaqHere(tmp_path / "home", data)
    arguments = ("run", "--member", "tiny-s", "--recipe", "tiny-plugin", "--dry-run")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(installed)
        done = run(*arguments)
    assert done.returncode == 0, done.stderr
    missing = run(*arguments)
    assert missing.returncode == 2 and missing.stderr.count("\n") == 1
    assert (
        "tiny-plugin.yaml:4: unknown engine 'template' (known: transformers, vllm, endpoint)"
        in missing.stderr
    )


def test_the_documents_code_is_the_plugins() -> None:
    documented = (REPOSITORY / "docs/PLUGINS.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(?:python|toml)\n(.*?)```", documented, re.DOTALL)
    sources = [
        path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.*") if path.suffix in (".py", ".toml")
    ]
    assert len(blocks) == 6 and all(any(block in source for source in sources) for block in blocks)
    assert all(registry.group in documented for registry, _ in REGISTRIES)
