"""What `faq cache gc --unused` may take: only what a later run of the same cell has replaced."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from faq_pipeline.core.cell import Cell
from faq_pipeline.core.resolver import resolve_cell
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.execution.recipe_comparison import comparison_key, evaluated
from faq_pipeline.execution.runner import plan
from faq_pipeline.lineage.uses import cell_setting, record_use
from faq_pipeline.planning.retention import unused_artifacts
from faq_pipeline.settings import Settings
from faq_pipeline.store.store import Key
from tests.gpu.fakes import make_gpus


@dataclass
class Home:
    """A home whose artifacts are stand-ins under their true keys."""

    folder: Path
    data: Path

    @property
    def settings(self) -> Settings:
        """As a new process reads them."""
        return Settings(self.folder, (self.data,), "cpu")

    def cell(self) -> Cell:
        settings = self.settings
        recipe = settings.catalog.recipe("tiny-faq")
        return resolve_cell(settings.catalog, "tiny-s", recipe, "cpu", settings.digests)

    def run(self, cell: Cell) -> set[str]:
        """All stages of a cell and the member's comparison; returns their fingerprints."""
        settings, made = self.settings, set()
        for stage in STAGES:
            key = plan(cell, STAGES, settings.store)[stage].key
            assert key is not None
            made.add(self.put(key))
            record_use(settings.store, cell.partition, stage, key.fingerprint, {}, cell_setting(cell))
        reports = evaluated(settings, cell.target.partition)
        return made | ({self.put(comparison_key(settings, reports))} if reports else set())

    def put(self, key: Key) -> str:
        def build(folder: Path) -> dict[str, Any]:
            (folder / "data").write_text(key.fingerprint)
            return {"tokens": 512}

        return self.settings.store.produce(key, build)[0].fingerprint

    def edit(self, old: str, new: str) -> None:
        path = self.data / "recipes/tiny-faq.yaml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    @property
    def unused(self) -> set[str]:
        return {artifact.fingerprint for artifact in unused_artifacts(self.settings)}


@pytest.fixture
def home(tiny_data: Path, tmp_path: Path) -> Home:
    return Home(tmp_path / "home", Path(shutil.copytree(tiny_data, tmp_path / "data")))


def test_after_a_run_nothing_is_unused(home: Home) -> None:
    assert len(home.run(home.cell())) == len(STAGES) + 1
    assert home.unused == set()


def test_what_a_run_with_a_changed_recipe_replaces_is_unused(home: Home) -> None:
    before = home.run(home.cell())
    home.edit("temperature: 1.0", "temperature: 0.5")
    assert home.unused == set()  # nothing has replaced it yet
    after = home.run(home.cell())
    assert len(before & after) == 3  # seeds, traces, the reference's evaluation
    assert home.unused == before - after


def test_other_draws_and_devices_stay(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faq_pipeline.models.gpus.installed_gpus", lambda: make_gpus("some GPU"))
    cell = home.cell()
    home.run(replace(cell, device="cuda"))
    home.run(replace(cell, recipe=cell.recipe.model_copy(update={"draw": 3})))
    home.run(cell)
    assert home.unused == set()


def test_what_a_cell_used_that_cannot_be_resolved_stays(home: Home) -> None:
    first = home.run(home.cell())
    home.edit("temperature: 1.0", "temperature: 0.5")
    second = home.run(home.cell())
    (home.data / "models/tiny-l/model.safetensors").rename(home.data / "weights")
    assert home.unused == set()
    (home.data / "weights").rename(home.data / "models/tiny-l/model.safetensors")
    assert home.unused == first - second
    (home.data / "recipes/tiny-faq.yaml").unlink()
    assert home.unused == set()


def test_what_a_damaged_use_names_stays(home: Home) -> None:
    before = home.run(home.cell())
    home.edit("temperature: 1.0", "temperature: 0.5")
    after = home.run(home.cell())
    replaced = home.unused
    assert replaced == before - after
    corpus = next(name for name in replaced if home.settings.store.get("regenerated_corpus", name))
    (path,) = home.settings.store.root.glob(f".uses/*/regenerated_corpus/{corpus}.json")
    path.write_text("")
    assert home.unused == replaced - {corpus}


def test_an_artifact_that_no_run_recorded_is_unused_but_not_what_others_were_made_from(home: Home) -> None:
    made = home.run(home.cell())
    seeds = next(iter(home.settings.store.artifacts("seed_data"))).fingerprint
    stray = home.put(Key("eval_report", 1, "0" * 20, {}, {}, {"seed_data": seeds}))
    assert home.unused == {stray}
    for path in (home.settings.store.root / ".uses").glob("*/seed_data/*.json"):
        path.unlink()
    home.edit("count: 8", "count: 6")  # the plan names other seeds, no use names the old ones
    assert home.unused == {stray} and seeds in made
