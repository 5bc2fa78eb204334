"""The names that `faq_pipeline` exports, used as a notebook uses them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import faq_pipeline as faq
from faq_pipeline.core.cell import Cell
from faq_pipeline.settings import REPOSITORY
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.records import Sample, Seed
from faq_pipeline.util.progress import SilentProgress

EXAMPLE = REPOSITORY / "examples/quantize.py"


@pytest.fixture(scope="module")
def settings(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> faq.Settings:
    return faq.Settings(tmp_path_factory.mktemp("home"), (tiny_data,), "cpu")


@pytest.fixture(scope="module")
def cell(settings: faq.Settings) -> Cell:
    return faq.resolve("tiny-s", "tiny-faq", settings=settings)


@pytest.fixture(scope="module")
def checkpoint(cell: Cell, settings: faq.Settings) -> Artifact:
    return faq.materialize(cell, "quantized_checkpoint", settings=settings)


def test_every_name_is_there_and_described() -> None:
    assert len(faq.__all__) == 13 and sorted(faq.__all__) == sorted(set(faq.__all__) & set(dir(faq)))
    documented = (REPOSITORY / "docs/API.md").read_text(encoding="utf-8")
    for name in faq.__all__:
        assert getattr(faq, name).__doc__ and f"`{name}" in documented
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = faq.nothing


def test_the_import_is_light() -> None:
    code = (
        "import os, sys, faq_pipeline\n"
        "print(sum(name.startswith('faq_pipeline') for name in sys.modules), os.environ['OMP_WAIT_POLICY'])\n"
        "faq_pipeline.resolve, faq_pipeline.STAGES\n"
        "print({'torch', 'transformers', 'dagster', 'llmcompressor'} & set(sys.modules))"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["1 PASSIVE", "set()"]


def test_a_stage_is_made_after_what_is_upstream_of_it_and_then_found(
    cell: Cell, checkpoint: Artifact, settings: faq.Settings
) -> None:
    planned = faq.plan(cell, settings=settings)
    made = {name for name, one in planned.items() if one.cache == "hit"}
    assert made == set(planned) - {"reference_eval", "eval_report"}
    assert planned["quantized_checkpoint"].artifact == checkpoint
    assert checkpoint.file("checkpoint").is_dir()
    assert faq.materialize(cell, "quantized_checkpoint", settings=settings) == checkpoint


def test_rows_are_records(cell: Cell, checkpoint: Artifact, settings: faq.Settings) -> None:
    seeds = faq.read_rows(faq.materialize(cell, "seed_data", settings=settings))
    samples = faq.read_rows(faq.materialize(cell, "calibration_set", settings=settings), "samples")
    assert len(seeds) == 8 and isinstance(seeds[0], Seed) and isinstance(samples[0], Sample)
    found = faq.trace(samples[0].id, settings=settings)
    assert found.kind == "sample" and found.samples[0].sample == samples[0]
    assert [one.fingerprint for one in found.checkpoints] == [checkpoint.fingerprint]


def test_a_changed_recipe_shares_what_the_change_does_not_touch(
    cell: Cell, checkpoint: Artifact, settings: faq.Settings
) -> None:
    changes = {"name": "tiny-w8", "quantization": {"scheme": "W8A16"}}
    recipe = faq.load_recipe("tiny-faq", changes, settings=settings)
    assert recipe.quantization.method == "gptq" and recipe.seeds == cell.recipe.seeds
    planned = faq.plan(faq.resolve("tiny-s", recipe, settings=settings), settings=settings)
    assert planned["calibration_set"].cache == "hit" and planned["quantized_checkpoint"].cache == "miss"


def test_a_recipe_of_ones_own_file(cell: Cell, settings: faq.Settings, tmp_path: Path) -> None:
    source = settings.data[0] / "recipes/tiny-faq.yaml"
    path = tmp_path / "mine.yaml"
    path.write_text(source.read_text().replace("tiny-faq", "mine").replace("../", f"{settings.data[0]}/"))
    assert faq.load_recipe(path).name == faq.load_recipe(str(path), {"name": "mine"}).name == "mine"
    planned = faq.plan(faq.resolve("tiny-s", path, settings=settings), settings=settings)
    assert planned["seed_data"].key == faq.plan(cell, settings=settings)["seed_data"].key


def test_a_checkpoint_goes_into_a_folder_by_artifact_fingerprint_or_cell(
    checkpoint: Artifact, cell: Cell, settings: faq.Settings, tmp_path: Path
) -> None:
    by_name = faq.export_checkpoint(checkpoint.fingerprint[:8], tmp_path / "a", settings=settings)
    by_cell = faq.export_checkpoint(
        f"{cell.target.name}|{cell.recipe.name}", tmp_path / "c", settings=settings
    )
    assert (by_cell / "config.json").read_bytes() == (by_name / "config.json").read_bytes()
    by_artifact = faq.export_checkpoint(checkpoint, str(tmp_path / "b"))
    assert by_name == tmp_path / "a" and (by_artifact / "config.json").is_file()


def test_a_blocking_check_stops_what_is_downstream(
    cell: Cell, settings: faq.Settings, tmp_path: Path
) -> None:
    own = faq.Settings(tmp_path / "home", settings.data, "cpu")
    seeds = faq.materialize(cell, "seed_data", settings=own)
    text = faq.read_rows(seeds)[0].text
    leaking = tmp_path / "leak"
    leaking.mkdir()
    for name in ("tiny_sums.yaml", "development.jsonl", "test.jsonl"):
        (leaking / name).write_text((settings.data[0] / "eval" / name).read_text())
    (leaking / "test.jsonl").write_text(json.dumps({"id": "q", "question": text, "answer": "1"}) + "\n")
    changes = {
        "name": "leaking",
        "evaluation": {"include": str(leaking)},
        "regeneration": {"source": "original", "candidates": 1, "sampling": None},
    }
    leak = faq.resolve("tiny-s", faq.load_recipe("tiny-faq", changes, settings=own), settings=own)
    with pytest.raises(faq.FaqError, match=r"calibration_set of .*leaking: check contamination failed"):
        faq.materialize(leak, settings=own)
    assert faq.plan(leak, settings=own)["quantized_checkpoint"].cache == "miss"


Call = Callable[[faq.Settings, Cell, Artifact], object]
OTHER = {"quantization": {"scheme": "W8A16"}}
MISTAKES: dict[str, Call] = {
    "unknown stage 'quantised_checkpoint' (did you mean 'quantized_checkpoint'?)": (
        lambda own, cell, artifact: faq.materialize(cell, "quantised_checkpoint", settings=own)
    ),
    "quantized_checkpoint holds no table 'seeds' (name one of: checkpoints, layers)": (
        lambda own, cell, artifact: faq.read_rows(artifact, "seeds")
    ),
    "calibration_set holds several tables (name one of: samples, fitness, rows)": (
        lambda own, cell, artifact: faq.read_rows(faq.materialize(cell, "calibration_set", settings=own))
    ),
    "unknown member 'tiny' (did you mean 'tiny-s'": (
        lambda own, cell, artifact: faq.resolve("tiny", "tiny-faq", settings=own)
    ),
    "changes of tiny-faq without a name": lambda own, *_: faq.load_recipe("tiny-faq", OTHER, settings=own),
    "changes of tiny-faq:1: unknown key 'quantization.shceme' (did you mean 'scheme'?)": (
        lambda own, *_: faq.load_recipe(
            "tiny-faq", {"name": "x", "quantization": {"shceme": "W8A16"}}, settings=own
        )
    ),
    "no recipe of 'tiny-l' is evaluated yet": lambda own, *_: faq.compare("tiny-l", settings=own),
    "nothing in the lineage index has the id 'zzz'": lambda own, *_: faq.trace("zzz", settings=own),
    "no checkpoint or calibration set has a fingerprint that starts with 'zzz'": (
        lambda own, *_: faq.export_checkpoint("zzz", "nowhere", settings=own)
    ),
}


@pytest.mark.parametrize("says", MISTAKES)
def test_a_mistake_is_one_line(says: str, settings: faq.Settings, cell: Cell, checkpoint: Artifact) -> None:
    with pytest.raises(faq.FaqError) as error:
        MISTAKES[says](settings, cell, checkpoint)
    assert str(error.value).startswith(says) and "\n" not in str(error.value)


def test_progress_is_told(cell: Cell, settings: faq.Settings, tmp_path: Path) -> None:
    class RecordingProgress(SilentProgress):
        started: list[str] = []

        def start(self, what: str, total: int) -> None:
            self.started.append(what)

    own = faq.Settings(tmp_path / "home", settings.data, "cpu")
    faq.materialize(cell, "inference_traces", progress=RecordingProgress(), settings=own)
    assert RecordingProgress.started == ["traces"]


def test_the_example_runs_and_is_the_documents(tiny_data: Path, tmp_path: Path) -> None:
    blocks = re.findall(
        r"```python\n(.*?)```", (REPOSITORY / "docs/API.md").read_text(encoding="utf-8"), re.DOTALL
    )
    assert EXAMPLE.read_text(encoding="utf-8") in blocks
    done = subprocess.run(
        [sys.executable, EXAMPLE, "--member", "tiny-s", "--recipe", "tiny-faq", "--out", "out"],
        env={
            **os.environ,
            "FAQ_HOME": str(tmp_path / "home"),
            "FAQ_DATA": str(tiny_data),
            "FAQ_DEVICE": "cpu",
            "PYTHONPATH": str(REPOSITORY),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "miss  eval_report" in done.stdout and "| tiny-faq |" in done.stdout
    assert (tmp_path / "out/config.json").is_file()
