from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from faq_pipeline.core.cell import Cell
from faq_pipeline.core.stage import Build, Stage
from faq_pipeline.errors import FaqError
from faq_pipeline.execution.runner import materialize
from faq_pipeline.quantization.export import export
from faq_pipeline.quantization.load import load_quantized
from faq_pipeline.quantization.stage import QUANTIZED_CHECKPOINT
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.records import CheckpointRow, TokenRow
from faq_pipeline.store.store import Store
from faq_pipeline.store.tables import read_rows, write_rows
from tests.quantization.conftest import make_rows


def with_quantization(cell: Cell, **fields: Any) -> Cell:
    spec = cell.recipe.quantization.model_copy(update=fields)
    return cell.with_recipe(cell.recipe.model_copy(update={"quantization": spec}))


def write_calibration(job: Build) -> dict[str, Any]:
    rows = [TokenRow(i, ids) for i, ids in enumerate(make_rows())]
    write_rows(job.directory / "rows.parquet", reversed(rows), TokenRow)
    return {}


CALIBRATION = Stage("calibration_set", 1, (), lambda cell: {}, write_calibration)
STAGES = {stage.name: stage for stage in (CALIBRATION, QUANTIZED_CHECKPOINT)}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def artifact(store: Store, tiny_cell: Cell) -> Artifact:
    materialize("calibration_set", tiny_cell, STAGES, store)
    return materialize("quantized_checkpoint", tiny_cell, STAGES, store).artifact


def test_the_artifact_holds_a_checkpoint_and_its_row(artifact: Artifact, tiny_cell: Cell) -> None:
    (row,) = read_rows(artifact.file("checkpoints.parquet"), CheckpointRow)
    assert (row.target, row.method, row.scheme) == (tiny_cell.target.partition, "gptq", "W4A16")
    assert row.bytes == (artifact.file("checkpoint") / "model.safetensors").stat().st_size
    figures = artifact.metadata
    assert figures["ratio"] == row.bytes / row.original_bytes < 1
    assert 4 < figures["bits_per_weight"] < 5
    assert figures["rtn_fallback"] == []


def test_a_second_store_gets_the_same_digest(artifact: Artifact, tiny_cell: Cell, tmp_path: Path) -> None:
    other = Store(tmp_path)
    materialize("calibration_set", tiny_cell, STAGES, other)
    again = materialize("quantized_checkpoint", tiny_cell, STAGES, other)
    assert not again.hit and again.artifact.digest == artifact.digest


def test_rounding_to_nearest_runs_without_a_calibration_set(tiny_cell: Cell, tmp_path: Path) -> None:
    cell = with_quantization(tiny_cell, method="rtn")
    outcome = materialize("quantized_checkpoint", cell, STAGES, Store(tmp_path))
    assert outcome.artifact.manifest.inputs == {}


def test_a_fingerprint_moves_with_what_its_method_reads_and_with_nothing_else(tiny_cell: Cell) -> None:
    def identity(**fields: Any) -> dict[str, Any]:
        return QUANTIZED_CHECKPOINT.identity(with_quantization(tiny_cell, **fields))

    changes: dict[str, Any] = {"actorder": "static", "dampening": 0.1, "smoothing": 0.9}
    reads = {"rtn": set(), "awq": set(), "gptq": {"actorder", "dampening"}, "smoothquant": set(changes)}
    for method, fields in reads.items():
        for field, value in changes.items():
            moved = identity(method=method) != identity(method=method, **{field: value})
            assert moved == (field in fields), (method, field)
        for field, value in {"scheme": "W3A16", "group_size": 32, "ignore": []}.items():
            assert identity(method=method) != identity(method=method, **{field: value})


def test_a_wrong_group_size_stops_the_stage_before_it_runs(store: Store, tiny_cell: Cell) -> None:
    cell = with_quantization(tiny_cell, group_size=96, method="rtn")
    with pytest.raises(FaqError, match="group_size 96"):
        materialize("quantized_checkpoint", cell, STAGES, store)


def test_the_stage_is_imported_without_a_model_library() -> None:
    code = (
        "import sys, faq_pipeline.quantization.stage, faq_pipeline.quantization.spec_check;"
        "heavy = {'torch', 'transformers', 'llmcompressor', 'compressed_tensors', 'pandas'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("prepared", [False, True])
def test_export_copies_a_folder_that_loads(
    prepared: bool, artifact: Artifact, tiny_cell: Cell, tmp_path: Path
) -> None:
    target = tmp_path / "new" / "folder"
    if prepared:
        target.mkdir(parents=True)
    assert export(artifact, target) == target
    assert {p.name for p in target.iterdir()} == {p.name for p in artifact.file("checkpoint").iterdir()}
    assert [p.name for p in target.parent.iterdir()] == ["folder"]
    load_quantized(target, tiny_cell.target.member, "cpu")


def test_export_refuses_a_folder_with_files_and_a_file(artifact: Artifact, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(FaqError, match="not empty"):
        export(artifact, tmp_path)
    with pytest.raises(FaqError, match="is a file"):
        export(artifact, tmp_path / "mine.txt")
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_export_refuses_an_artifact_without_a_checkpoint(
    artifact: Artifact, store: Store, tmp_path: Path
) -> None:
    (calibration,) = [a for a in store.artifacts() if a.manifest.stage == "calibration_set"]
    with pytest.raises(FaqError, match="holds no checkpoint"):
        export(calibration, tmp_path / "new")
