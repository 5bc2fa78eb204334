"""A study of the tiny family, killed midway and finished; and as a Dagster job."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from faq_pipeline.definitions import build_study_defs
from faq_pipeline.errors import FaqError
from faq_pipeline.orchestration.resources import PipelineResource
from faq_pipeline.quantization.stage import QUANTIZED_CHECKPOINT
from faq_pipeline.settings import REPOSITORY, Settings
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.store import Store
from faq_pipeline.study.analysis.outcomes import read_scores
from faq_pipeline.study.design.cells import Design
from faq_pipeline.study.execution.results import FOLDER, read_results
from faq_pipeline.study.execution.run import run_study
from faq_pipeline.study.execution.workers import TaskOutcome
from tests.orchestration.cli import Faq, FaqHere
from tests.study.reported import reported
from tests.study.tiny_study import designed, line_of, write_study

BROKEN = "  bad: {title: no sample fits, calibration: {sequence_length: 4}}\nquantizers:\n"
"""An arm whose calibration set cannot be made."""
CELLS = 7 * 2 + 1 + 2 + 4
"""Arms with two draws, round to nearest, the broken arm, pilots."""


def test_nothing_is_begun_when_the_time_is_up(design: Design, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    summary = run_study(design, store, minutes=0)
    assert (summary.made, summary.left) == (0, summary.cells) and summary.cells == len(design.cells)
    assert not list(store.folders())


def test_a_task_that_cannot_be_asked_is_refused_before_anything_is_made(data: Path, tmp_path: Path) -> None:
    study, store = write_study(data), Store(tmp_path / "store")
    (data / "eval/test.jsonl").write_text("{}\n")
    with pytest.raises(FaqError, match=r"arm 'original-raw', quantizer 'gptq-w3': .*tiny_sums") as error:
        run_study(designed(data, tmp_path / "digests"), store)
    assert (error.value.file, error.value.line) == (study, line_of(study, "development: {"))
    assert not list(store.folders())


class Dying(Executor):
    """Makes one task, and then takes none, as a pool does in which a process died."""

    def __init__(self) -> None:
        self.asked = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.asked += 1
        if self.asked > 1:
            raise BrokenProcessPool("a process was terminated abruptly")
        future: Future[Any] = Future()
        future.set_result(TaskOutcome("f"))
        return future


def test_a_worker_that_dies_between_two_tasks_is_told_in_a_line_and_fails_no_cell(
    design: Design, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, pool = Store(tmp_path / "store"), Dying()
    with monkeypatch.context() as patch:
        patch.setattr("faq_pipeline.study.execution.run.workers", lambda *_: nullcontext(pool))
        with pytest.raises(FaqError, match="a worker process of the study died") as error:
            run_study(design, store)
    assert "\n" not in str(error.value) and pool.asked == 2
    assert read_results(store, "trial") == {}
    summary = run_study(design, store, minutes=0)
    assert (summary.before, summary.left) == (0, len(design.cells))


def test_a_checkpoint_that_fell_back_is_blocked(design: Design, tmp_path: Path) -> None:
    manifest = {
        "stage": "quantized_checkpoint",
        "stage_version": 1,
        "fingerprint": "f",
        "digest": "d",
        "identity": {},
        "inputs": {},
        "upstream": {},
        "files": [],
        "created": "now",
        "seconds": 1.0,
        "metadata": {
            "rtn_fallback": ["layers.0.down_proj"],
            "inspection": {
                "loads": True,
                "load_error": "",
                "bytes": 1,
                "original_bytes": 2,
                "nan_tensors": [],
                "missing_tensors": [],
                "unquantized_linear_layers": [],
            },
        },
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    problem = QUANTIZED_CHECKPOINT.blocking_problem(design.cells[0].cell, Artifact(tmp_path))
    assert problem == "check no_silent_fallback failed: modules: ['layers.0.down_proj']"


@dataclass(frozen=True)
class Killed:
    """A home with a study that was killed once and then finished, and what the second run said."""

    faq: Faq
    before: set[str]
    orphans: list[psutil.Process]
    done: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def killed(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Killed:
    root = tmp_path_factory.mktemp("study")
    (root / "data").mkdir()
    for folder in tiny_data.iterdir():
        (root / "data" / folder.name).symlink_to(folder)
    write_study(root / "data", ("quantizers:\n", BROKEN), ("  gptq-w4: {method: gptq, scheme: W4A16}\n", ""))
    faq = Faq(root / "home", root / "data")
    process = subprocess.Popen(
        faq.command("study", "run", "trial", "--workers", "2"),
        env=faq.environment,
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    results = faq.home / "store" / FOLDER / "trial"
    while len(list(results.glob("*.json"))) < 3:
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.05)
    workers = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(workers, timeout=60)
    before = {path.stem for path in results.glob("*.json")}
    done = faq("study", "run", "trial", "--workers", "2", "--json")
    return Killed(FaqHere(faq.home, faq.data), before, alive, done)


@pytest.mark.slow
def test_a_study_that_was_killed_goes_on_and_tells_of_its_failures(killed: Killed) -> None:
    assert killed.orphans == []  # workers end with the one that they work for
    assert killed.done.returncode == 1  # since cells failed
    said = json.loads(killed.done.stdout)
    assert set(said["failed"]) == {f"tiny-s.bad.gptq-w3.test.{draw}" for draw in (0, 1)}
    assert all("no sample can enter" in why for why in said["failed"].values())
    assert said["left"] == 0 and said["cells"] == CELLS
    done_before = {name for name in killed.before if ".bad." not in name}
    assert said["before"] == len(done_before) and said["made"] == CELLS - 2 - len(done_before)
    store = Store(killed.faq.home / "store")
    assert all(store.verify(artifact) == [] for artifact in store.folders())
    assert not list((store.root / ".staging").glob("*"))


@pytest.mark.slow
def test_its_cells_are_counted_and_reported(killed: Killed, tmp_path: Path) -> None:
    counted = json.loads(killed.faq("study", "status", "trial", "--json").stdout)["cells"]
    assert sum(row["finished"] for row in counted) == CELLS - 2
    assert sum(row["failed"] for row in counted) == 2
    (before := tmp_path / "before").write_text("whole")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/report.md").hardlink_to(before)
    done = killed.faq("study", "report", "trial", "--out", str(tmp_path / "out"), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cells"] == {"finished": CELLS - 2, "failed": 2}
    assert before.read_text() == "whole"
    text = (tmp_path / "out/report.md").read_text()
    assert "no sample can enter the calibration set" in text
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {"report.html", "cells.csv", "results.json"}


@pytest.mark.slow
def test_a_cell_is_what_a_run_of_its_recipe_makes(killed: Killed) -> None:
    """The same artifacts as the pipeline's, recorded as a study's, with the divergence of a report."""
    design = designed(killed.faq.data, killed.faq.home / "digests")
    results = read_results(Store(killed.faq.home / "store"), "trial")
    made = results["tiny-s.faq.gptq-w3.test.0"].artifacts
    assert set(made) == {
        "seed_data",
        "inference_traces",
        "regenerated_corpus",
        "competition_scores",
        "calibration_set",
        "quantized_checkpoint",
        "reference_eval",
        "eval_report",
    }
    uses = killed.faq.home / "store/.uses"
    recorded = list(uses.glob("*|study-trial.faq.gptq-w3/eval_report/*.json"))
    assert made["eval_report"] in {path.stem for path in recorded} and len(recorded) == 2
    measured = results["tiny-s.self.gptq-w3.test.0"].artifacts
    assert "divergence" in measured and "eval_report" not in measured
    assert measured["reference_eval"] == made["reference_eval"]
    assert all(results[cell.id].answers(cell) for cell in design.cells)


@pytest.mark.slow
def test_a_copied_store_is_reported_where_nothing_was_made(killed: Killed, tmp_path: Path) -> None:
    """With the command of docs/STUDIES.md: without weights, distributions and what runs leave behind."""
    guide = (REPOSITORY / "docs/STUDIES.md").read_text()
    without = re.findall(r"--exclude=\S+", guide)
    left = [
        ".staging",
        ".ledgers",
        ".locks",
        "quantized_checkpoint/*/checkpoint",
        "reference_eval/*/divergence",
    ]
    assert len(without) == len(left)
    for name, place in (("here", killed.faq.home), ("there", tmp_path / "home")):
        (tmp_path / name).mkdir()
        (place / "store").mkdir(parents=True, exist_ok=True)
        if name == "there":
            tar = f"tar -C {killed.faq.home}/store {' '.join(without)} -c . | tar -C {place}/store -x"
            subprocess.run(["bash", "-c", tar], check=True)
            shutil.rmtree(place / "store/study_report", ignore_errors=True)  # another test's, to be made here
            assert [pattern for pattern in left if list((place / "store").glob(pattern))] == []
        reported(FaqHere(place, killed.faq.data), tmp_path / name)
    files = {path.name for path in (tmp_path / "here/out").iterdir()}
    assert "report.md" in files
    for name in files:
        assert (tmp_path / "here/out" / name).read_bytes() == (tmp_path / "there/out" / name).read_bytes()


@pytest.mark.slow
def test_short_replies_are_a_share_of_those_whose_reference_is_whole(killed: Killed, tmp_path: Path) -> None:
    shutil.copytree(
        killed.faq.home / "store", tmp_path / "store", ignore=shutil.ignore_patterns("checkpoint")
    )
    store = Store(tmp_path / "store")
    design = designed(killed.faq.data, tmp_path / "digests")
    cell = next(one for one in design.cells if one.judged and one.arm == "faq")
    result = read_results(store, "trial")[cell.id]

    def rewrite(stage: str, tokens: list[int], cut: list[bool]) -> None:
        made = store.get(stage, result.artifacts[stage])
        assert made is not None
        table = pq.read_table(file := made.file("answers.parquet"))
        for name, values in (("tokens", tokens), ("truncated", cut)):
            at = table.column_names.index(name)
            table = table.set_column(at, table.field(name), pa.array(values, table.field(name).type))
        pq.write_table(table, file)

    (whole,) = read_scores([cell], {cell.id: result}, store)
    more = len(whole.questions) - 3
    rewrite("reference_eval", [10] * (more + 3), [True, False, False, *[False] * more])
    rewrite("eval_report", [1, 4, 4, *[5] * more], [False] * (more + 3))
    (scores,) = read_scores([cell], {cell.id: result}, store)
    assert scores.short_replies == pytest.approx(2 / (more + 2))


@pytest.mark.slow
def test_costs_without_their_evidence_are_unknown_and_not_zero(killed: Killed, tmp_path: Path) -> None:
    """As in a store that was copied in part, whose corpora come later."""
    there = FaqHere(tmp_path / "home", killed.faq.data)
    store, weights = there.home / "store", shutil.ignore_patterns("checkpoint")
    shutil.copytree(killed.faq.home / "store", store, ignore=weights)
    whole = reported(there, tmp_path)
    # The reference ends none of its replies here, so that no reply can be called short.
    assert {row["short_replies"] for row in whole.cells if row["accuracy"]} == {""}
    assert whole.costs["self"][0] != "0" and "-" not in whole.costs["self"]
    assert whole.costs["round to nearest"][0] == "0"  # known: it is made of no data
    assert whole.costs_more["FAQ against self"].endswith("CPU-s") and "unknown" not in whole.text

    own = read_results(Store(store), "trial")
    corpora = [
        store / "regenerated_corpus" / own[f"tiny-s.self.gptq-w3.test.{draw}"].artifacts["regenerated_corpus"]
        for draw in (0, 1)
    ]
    kept = [corpus.rename(tmp_path / corpus.name) for corpus in corpora[:1]]
    half = reported(there, tmp_path)
    (rest,) = (row for row in half.cells if row["arm"] == "self" and row["sampled_tokens"])
    assert half.costs["self"][0] == f"{int(rest['sampled_tokens']):,}"  # of the other draw alone
    assert half.costs["self"][-1] == f"{float(rest['data_seconds']):.1f}"
    assert "data of 1 cell cost is unknown" in half.text

    kept.append(corpora[1].rename(tmp_path / corpora[1].name))
    none = reported(there, tmp_path)
    assert none.costs["self"] == ["-"] * 5 and none.costs_more["FAQ against self"] == "-"
    assert none.costs["FAQ"] == whole.costs["FAQ"]
    assert {(row["sampled_tokens"], row["data_seconds"]) for row in none.cells if row["arm"] == "self"} == {
        ("", "")
    }
    assert none.json["costs"]["self"] == {
        "arm": "self",
        "sampled_tokens": None,
        "seconds": {"regenerated_corpus": None, "competition_scores": None, "calibration_set": None},
    }
    for corpus, place in zip(kept, corpora, strict=True):
        corpus.rename(place)
    assert reported(there, tmp_path).text == whole.text


@pytest.mark.slow
def test_dagster_finds_the_study_made(killed: Killed, monkeypatch: pytest.MonkeyPatch) -> None:
    home, data = killed.faq.home, killed.faq.data
    for name, value in {"FAQ_HOME": home, "FAQ_DATA": data, "FAQ_DEVICE": "cpu"}.items():
        monkeypatch.setenv(name, str(value))
    settings = Settings.from_environment()
    pipeline = PipelineResource(home=str(home), data=[str(d) for d in settings.data], device="cpu")
    definitions = build_study_defs(settings, resource_overrides={"pipeline": pipeline})
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def("study").execute_in_process(
            partition_key="trial", instance=instance
        )
    assert result.success
    shown: dict[str, Any] = {
        event.asset_key.to_user_string(): event.materialization.metadata
        for event in result.get_asset_materialization_events()
    }
    assert shown["study_cells"]["reused"].value == CELLS - 2 and shown["study_cells"]["failed"].value == 2
    assert "no sample can enter" in str(shown["study_cells"]["failures"].value)
    assert "not formed" in shown["study_report"]["in words"].value
    assert "data:image/png" in shown["study_report"]["forest plot"].value
    (check,) = result.get_asset_check_evaluations()
    assert not check.passed and check.severity == dg.AssetCheckSeverity.WARN
