"""The README's commands run as they are written there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from faq_pipeline.cli.options import DEFAULT_MEMBER, DEFAULT_RECIPE
from faq_pipeline.config.catalog import Catalog
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.resolver import resolve_cell
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.execution.runner import materialize
from faq_pipeline.lineage.index import merge
from faq_pipeline.lineage.uses import cell_setting, record_use
from faq_pipeline.regeneration.seeds import draw_seeds, load_seeds
from faq_pipeline.settings import REPOSITORY
from faq_pipeline.store.store import Store
from tests.orchestration.conftest import Run, faq  # noqa: F401

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return README.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def commands(title: str) -> list[list[str]]:
    """The `faq` commands of a section's code blocks, comments left out."""
    blocks = re.findall(r"```\n(.*?)```", section(title), re.DOTALL)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    return [line[1:] for line in lines if line[:1] == ["faq"]]


LOOK_AROUND = commands("Look around")
NOT_MADE = {
    "compare": "no recipe of 'kin-2m' is evaluated yet",
    "report": "kin-2m@72010fd6|faq-one-gptq-w3a16 has no inference_traces yet",
    "export": "no checkpoint or calibration set has a fingerprint that starts with 'FINGERPRINT'",
    "layers": "no checkpoint or calibration set has a fingerprint that starts with 'FINGERPRINT'",
}
"""What commands say that show what a whole run made: there is none here."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the seeds of the demo, which is what a run makes first."""
    folder = tmp_path_factory.mktemp("home")
    cell, store = demo_cell(folder), Store(folder / "store")
    seeds = materialize("seed_data", cell, STAGES, store).artifact
    record_use(store, cell.partition, "seed_data", seeds.fingerprint, {}, cell_setting(cell))
    assert merge(store, folder / "lineage.duckdb").merged == 1
    return folder


def demo_cell(folder: Path) -> Cell:
    catalog = Catalog((REPOSITORY / "data",))
    return resolve_cell(catalog, DEFAULT_MEMBER, catalog.recipe(DEFAULT_RECIPE), "cpu", folder / "digests")


@pytest.mark.parametrize("arguments", LOOK_AROUND, ids=" ".join)
def test_what_the_readme_says_to_look_at_can_be_looked_at(
    arguments: list[str],
    home: Path,
    faq: Run,  # noqa: F811
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    for kind in ("families", "recipes"):
        (data / kind).mkdir(parents=True)
    if arguments[0] == "run" and "--dry-run" not in arguments:
        arguments = [*arguments, "--dry-run"]
    done = faq(data, *arguments, home=home)
    if arguments[0] in NOT_MADE:
        assert done.mistake.startswith(NOT_MADE[arguments[0]])
    else:
        assert done.code == 0 and done.out and not done.err, done


def test_the_section_holds_what_is_tested() -> None:
    kinds = {arguments[0] for arguments in LOOK_AROUND}
    assert {"recipes", "run", "compare", "lineage", "cache", "export", "doctor"} <= kinds


def test_the_seed_that_is_traced_is_one_that_the_demo_draws() -> None:
    (seed,) = [arguments[2] for arguments in LOOK_AROUND if arguments[:2] == ["lineage", "trace"]]
    recipe = Catalog((REPOSITORY / "data",)).recipe(DEFAULT_RECIPE)
    assert recipe.seeds.path is not None
    known = load_seeds(recipe.seeds.path, recipe.seeds.count)
    assert seed in {one.id for one in draw_seeds(known, recipe.seeds.count, recipe.draw)}


def test_the_yaml_for_ones_own_model_is_valid(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n# (\S+\.yaml).*?\n(.*?)```", section("Your own model and data"), re.DOTALL)
    for name, text in blocks:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    catalog = Catalog((tmp_path,))
    assert set(catalog.families) == {"mine"} and catalog.broken == {}
    assert set(catalog.recipes) == {"mine-faq-w4a16", "mine-raw-w4a16"}
    raw = catalog.recipes["mine-raw-w4a16"]
    assert (raw.regeneration.source, raw.calibration.template, raw.baselines) == ("original", "raw", [])
