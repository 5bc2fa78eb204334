from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from faq_pipeline.config.recipe import Gate
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.stage import Build, Stage
from faq_pipeline.errors import FaqError
from faq_pipeline.evaluation.documents import Document
from faq_pipeline.evaluation.held_out import spread
from faq_pipeline.evaluation.stage import DIVERGENCE, EVAL_REPORT, REFERENCE_EVAL
from faq_pipeline.execution.runner import Outcome, materialize
from faq_pipeline.models.loading import load_folder
from faq_pipeline.store.records import Answer, CheckpointRow, EvaluationRow
from faq_pipeline.store.store import Store
from faq_pipeline.store.tables import read_rows, write_rows

CHECKPOINT = CheckpointRow("tiny-s@0", "gptq", "W4A16", "128", 2_000_000, 8_000_000)


def _build_checkpoint(build: Build) -> dict[str, Any]:
    """The member with rough weights, in the place of a quantized one."""
    torch.manual_seed(0)
    model = load_folder(build.cell.target.folder, "cpu")
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    model.save_pretrained(build.directory / "checkpoint")
    write_rows(build.directory / "checkpoints.parquet", [CHECKPOINT], CheckpointRow)
    return {}


STAGES = {
    stage.name: stage
    for stage in (
        Stage("quantized_checkpoint", 1, (), lambda cell: {}, _build_checkpoint),
        REFERENCE_EVAL,
        EVAL_REPORT,
        DIVERGENCE,
    )
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("artifacts"))


@pytest.fixture(scope="module")
def gated(tiny_cell: Cell) -> Cell:
    return _changed(tiny_cell, gate=Gate(recovery=0.5))


@pytest.fixture(scope="module")
def outcomes(store: Store, gated: Cell) -> dict[str, Outcome]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "faq_pipeline.quantization.load.load_quantized",
            lambda folder, member, device: load_folder(folder, device),
        )
        return {name: materialize(name, gated, STAGES, store) for name in STAGES}


def _changed(cell: Cell, **changes: Any) -> Cell:
    evaluation = cell.recipe.evaluation.model_copy(update=changes)
    return cell.with_recipe(cell.recipe.model_copy(update={"evaluation": evaluation}))


def test_the_reference_keeps_its_answers_and_distributions(outcomes: dict[str, Outcome]) -> None:
    artifact = outcomes["reference_eval"].artifact
    answers = read_rows(artifact.file("answers.parquet"), Answer)
    assert len(answers) == artifact.metadata["questions"] == 8
    assert artifact.metadata["tokens"] == sum(a.tokens for a in answers)
    assert set(artifact.metadata["accuracy"]) == {"value", "low", "high"}
    for name in ("traces", "prose"):
        assert artifact.file(f"divergence/{name}.safetensors").stat().st_size > 1000
    rows = read_rows(artifact.file("evaluations.parquet"), EvaluationRow)
    assert {(r.scope, r.metric) for r in rows} == {
        ("all", "accuracy"),
        ("all", "truncated_reference"),
        ("sums", "accuracy"),
    }


def test_the_report_holds_every_figure(outcomes: dict[str, Outcome]) -> None:
    figures = outcomes["eval_report"].artifact.metadata
    for name in ("reference", "quantized", "loss", "kl", "kl_prose"):
        assert set(figures[name]) == {"value", "low", "high"}
        assert figures[name]["low"] <= figures[name]["value"] <= figures[name]["high"]
    assert figures["kl"]["value"] > 0 and figures["kl_prose"]["value"] > 0
    # Random weights answer nothing, so there is no recovery and the gate cannot be passed.
    assert figures["recovery"] is None
    assert figures["gate"] == {"threshold": 0.5, "passed": False}
    assert (figures["questions"], figures["verdict"]) == (8, "inconclusive")
    assert set(figures["truncated"]) == {"reference", "quantized"}
    assert figures["per_task"]["sums"]["n"] == 8
    json.dumps(figures)


def test_figures_are_lineage_rows(outcomes: dict[str, Outcome]) -> None:
    rows = read_rows(outcomes["eval_report"].artifact.file("evaluations.parquet"), EvaluationRow)
    found = {(r.scope, r.metric): r for r in rows}
    kl = outcomes["eval_report"].artifact.metadata["kl"]
    assert found["traces", "kl"].value == kl["value"] and found["traces", "kl"].high == kl["high"]
    assert {("all", "loss"), ("all", "mcnemar_p"), ("prose", "kl"), ("sums", "quantized")} <= found.keys()
    assert ("all", "recovery") not in found
    # 8 questions; the divergence is a mean over 4 of their answers, and over 4 passages.
    assert {key: found[key].n for key in (("all", "loss"), ("traces", "kl"), ("prose", "kl"))} == {
        ("all", "loss"): 8,
        ("traces", "kl"): 4,
        ("prose", "kl"): 4,
    }


def test_the_divergence_alone_is_that_of_the_report(outcomes: dict[str, Outcome]) -> None:
    report, alone = outcomes["eval_report"].artifact, outcomes["divergence"].artifact
    name = "divergence.parquet"
    assert alone.file(name).read_bytes() == report.file(name).read_bytes()
    assert alone.metadata["kl"] == report.metadata["kl"]
    assert alone.metadata["kl_prose"] == report.metadata["kl_prose"]
    rows = read_rows(alone.file("evaluations.parquet"), EvaluationRow)
    assert {(row.scope, row.metric) for row in rows} == {("traces", "kl"), ("prose", "kl")}


def test_the_report_is_readable(outcomes: dict[str, Outcome]) -> None:
    artifact = outcomes["eval_report"].artifact
    for name in ("report.md", "report.html"):
        text = artifact.file(name).read_text()
        for part in ("gptq W4A16", "inconclusive", "not passed", "sums", "recovery.png", "McNemar"):
            assert part in text, (name, part)
        assert str(artifact.path) not in text
    assert artifact.file("recovery.png").read_bytes().startswith(b"\x89PNG")


def test_artifacts_repeat_byte_by_byte(
    outcomes: dict[str, Outcome], gated: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "faq_pipeline.quantization.load.load_quantized",
        lambda folder, member, device: load_folder(folder, device),
    )
    again = {name: materialize(name, gated, STAGES, Store(tmp_path)) for name in STAGES}
    assert {name: o.artifact.digest for name, o in again.items()} == {
        name: o.artifact.digest for name, o in outcomes.items()
    }


def test_a_second_run_is_a_hit(outcomes: dict[str, Outcome], gated: Cell, store: Store) -> None:
    assert all(materialize(name, gated, STAGES, store).hit for name in outcomes)


@pytest.mark.parametrize(
    ("changes", "moved"),
    [
        ({"limit": 3}, {"reference_eval", "eval_report"}),
        ({"max_new_tokens": 25}, {"reference_eval", "eval_report"}),
        ({"batch_size": 2}, {"reference_eval", "eval_report"}),
        ({"traces": 2}, {"reference_eval", "eval_report"}),
        ({"gate": Gate(recovery=0.9)}, {"eval_report"}),
    ],
)
def test_what_is_declared_moves_the_identity(
    tiny_cell: Cell, changes: dict[str, Any], moved: set[str]
) -> None:
    other = _changed(tiny_cell, **changes)
    stages = (REFERENCE_EVAL, EVAL_REPORT)
    assert {s.name for s in stages if s.identity(tiny_cell) != s.identity(other)} == moved


def test_files_count_by_their_bytes_and_not_by_their_place(tiny_cell: Cell, tmp_path: Path) -> None:
    spec = tiny_cell.recipe.evaluation
    assert spec.include is not None
    shutil.copytree(spec.include, tmp_path / "copy")
    moved = _changed(tiny_cell, include=tmp_path / "copy", prose=tmp_path / "copy/prose.jsonl")
    before = REFERENCE_EVAL.identity(tiny_cell)
    assert REFERENCE_EVAL.identity(moved) == before
    assert str(tmp_path) not in json.dumps(REFERENCE_EVAL.identity(moved))
    (tmp_path / "copy/development.jsonl").write_text("{}\n")
    assert REFERENCE_EVAL.identity(moved) == before
    for name in ("prose.jsonl", "test.jsonl", "tiny_sums.yaml"):
        path = tmp_path / "copy" / name
        text = path.read_text()
        path.write_text(text + "\n")
        assert REFERENCE_EVAL.identity(moved) != before
        path.write_text(text)


def test_tools_and_members_move_the_identity(tiny_cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    before = REFERENCE_EVAL.identity(tiny_cell)
    for part in ("digest", "tokenizer_digest"):
        other = replace(tiny_cell, target=replace(tiny_cell.target, **{part: "other"}))
        assert REFERENCE_EVAL.identity(other) != before
    for package in ("lm_eval", "torch", "transformers"):
        with monkeypatch.context() as patch:
            patch.setattr(
                "faq_pipeline.evaluation.identity.tool_version",
                lambda name, package=package: "9" if name == package else before["tools"][name],
            )
            assert REFERENCE_EVAL.identity(tiny_cell) != before


def test_missing_prose_is_named(tiny_cell: Cell, tmp_path: Path) -> None:
    with pytest.raises(FaqError, match=r"gone\.jsonl: no such file"):
        REFERENCE_EVAL.identity(_changed(tiny_cell, prose=tmp_path / "gone.jsonl"))


def test_traces_are_spread_over_the_questions() -> None:
    items = [Document(str(i), "") for i in range(10)]
    assert [item.id for item in spread(items, 4)] == ["0", "2", "5", "7"]
    assert spread(items, 20) == items


def test_the_stages_are_light_to_import() -> None:
    code = (
        "import sys, faq_pipeline.evaluation.stage, faq_pipeline.evaluation.tasks;"
        "heavy = {'torch', 'transformers', 'lm_eval', 'pandas', 'datasets'} & set(sys.modules);"
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
