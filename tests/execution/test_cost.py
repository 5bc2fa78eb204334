"""What a dry run says of time and disk: learnt from like work only, and never invented."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from faq_pipeline.config.family import Serving
from faq_pipeline.core.cell import Cell
from faq_pipeline.execution.cost import CostEstimate, PastRuns
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.models.device_memory import RUNTIME
from faq_pipeline.store.artifact import MANIFEST, FileEntry, Manifest
from faq_pipeline.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def made(store: Store, stage: str, cell: Cell, seconds: float, size: int, **metadata: Any) -> None:
    """An artifact of the cell's stage, as a run that took so long and wrote so many bytes leaves it."""
    number = len(list(store.artifacts()))
    manifest = Manifest(
        stage=stage,
        stage_version=1,
        fingerprint=f"{number:020}",
        digest="d",
        identity={},
        inputs={},
        upstream={},
        files=[FileEntry(path="data", bytes=size, sha256="")],
        metadata={"work": STAGES[stage].work(cell).as_dict(), **metadata},
        created="",
        seconds=seconds,
    )
    folder = store.root / stage / manifest.fingerprint
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_text(manifest.model_dump_json())


def changed(cell: Cell, section: str, **fields: Any) -> Cell:
    part = getattr(cell.recipe, section).model_copy(update=fields)
    return replace(cell, recipe=cell.recipe.model_copy(update={section: part}))


def passed_through(cell: Cell) -> Cell:
    return replace(
        changed(cell, "regeneration", source="original", sampling=None, candidates=1), teacher=None
    )


def estimate_cost(stage: str, cell: Cell, store: Store) -> CostEstimate:
    return PastRuns(store).estimate(STAGES[stage], cell)


def cost(stage: str, cell: Cell, store: Store) -> tuple[float | None, float | None]:
    found: CostEstimate = estimate_cost(stage, cell, store)
    return found.seconds, found.disk_mib


def test_nothing_is_known_where_nothing_has_run(store: Store, tiny_cell: Cell) -> None:
    assert cost("regenerated_corpus", tiny_cell, store) == (None, None)


def test_a_corpus_learns_from_sampled_corpora_alone(store: Store, tiny_cell: Cell) -> None:
    """Passing seeds through takes no time a token: it once made minutes of sampling into ages."""
    for _ in range(5):
        made(store, "regenerated_corpus", passed_through(tiny_cell), 3.0, 2**20)
    assert cost("regenerated_corpus", tiny_cell, store) == (None, None)
    made(store, "regenerated_corpus", tiny_cell, 40.0, 2**20)
    assert cost("regenerated_corpus", tiny_cell, store) == (40.0, 1.0)
    twice = changed(tiny_cell, "regeneration", candidates=4)
    assert cost("regenerated_corpus", twice, store) == (80.0, 2.0)
    assert cost("regenerated_corpus", passed_through(tiny_cell), store) == (3.0, 1.0)


def test_a_gpu_learns_nothing_from_a_cpu(store: Store, tiny_cell: Cell) -> None:
    made(store, "regenerated_corpus", tiny_cell, 40.0, 2**20)
    assert cost("regenerated_corpus", replace(tiny_cell, device="cuda"), store) == (None, 1.0)


def test_a_checkpoint_is_as_large_as_its_model(store: Store, tiny_cell: Cell) -> None:
    made(store, "quantized_checkpoint", tiny_cell, 10.0, 2**20)
    longer = changed(tiny_cell, "calibration", tokens=2 * tiny_cell.recipe.calibration.tokens)
    assert cost("quantized_checkpoint", longer, store) == (20.0, 1.0)
    assert tiny_cell.teacher is not None
    larger = replace(tiny_cell, target=tiny_cell.teacher)
    ratio = tiny_cell.teacher.member.parameters / tiny_cell.target.member.parameters
    assert cost("quantized_checkpoint", larger, store) == pytest.approx((10 * ratio, ratio), abs=0.06)
    assert cost("quantized_checkpoint", changed(tiny_cell, "quantization", scheme="W8A16"), store)[1] is None


def test_a_resumed_quantization_tells_no_time(store: Store, tiny_cell: Cell) -> None:
    made(store, "quantized_checkpoint", tiny_cell, 1, 2**20, resumed=True)
    seconds, disk = cost("quantized_checkpoint", tiny_cell, store)
    assert seconds is None and disk is not None
    made(store, "quantized_checkpoint", tiny_cell, 100, 2**20)
    assert cost("quantized_checkpoint", tiny_cell, store)[0] == 100


def test_rtn_reads_no_tokens(store: Store, tiny_cell: Cell) -> None:
    rtn = changed(tiny_cell, "quantization", method="rtn")
    made(store, "quantized_checkpoint", tiny_cell, 10.0, 2**20)
    assert estimate_cost("quantized_checkpoint", rtn, store).tokens is None
    assert estimate_cost("quantized_checkpoint", rtn, store).seconds is None  # GPTQ's time says nothing of it
    made(store, "quantized_checkpoint", rtn, 1.0, 2**20)
    longer = changed(rtn, "calibration", tokens=1024)
    assert cost("quantized_checkpoint", longer, store) == (1.0, 1.0)


def test_an_evaluation_is_as_long_as_its_questions(store: Store, tiny_cell: Cell) -> None:
    """8 questions, 4 traces and 4 passages of prose, 24 tokens each."""
    assert estimate_cost("eval_report", tiny_cell, store).tokens == (8 + 4 + 4) * 24
    few = changed(tiny_cell, "evaluation", limit=2)
    assert estimate_cost("eval_report", few, store).tokens == (2 + 4 + 4) * 24
    made(store, "eval_report", few, 10.0, 2**20)
    assert cost("eval_report", tiny_cell, store) == (16.0, 1.6)


def test_the_length_of_lm_evals_own_tasks_is_not_known(store: Store, tiny_cell: Cell) -> None:
    made(store, "reference_eval", tiny_cell, 10.0, 2**20)
    far = changed(tiny_cell, "evaluation", include=None, tasks=["gsm8k"])
    assert estimate_cost("reference_eval", far, store).tokens is None
    assert cost("reference_eval", far, store) == (None, None)


def test_experts_that_need_no_model_take_no_memory(store: Store, tiny_cell: Cell) -> None:
    assert estimate_cost("competition_scores", tiny_cell, store).memory_gib is None
    scored = changed(tiny_cell, "competition", experts={"target_likelihood": 1.0})
    assert estimate_cost("competition_scores", scored, store).memory_gib


def test_own_tasks_of_lm_eval_learn_from_themselves(store: Store, tiny_cell: Cell) -> None:
    far = changed(tiny_cell, "evaluation", include=None, tasks=["gsm8k"])
    made(store, "reference_eval", far, 10.0, 2**20)
    assert cost("reference_eval", far, store) == (10.0, 1.0)
    assert tiny_cell.teacher is not None
    larger = replace(far, target=tiny_cell.teacher)
    ratio = tiny_cell.teacher.member.parameters / tiny_cell.target.member.parameters
    assert cost("reference_eval", larger, store)[0] == pytest.approx(10 * ratio, abs=0.06)
    assert cost("reference_eval", changed(far, "evaluation", limit=5), store) == (None, None)


def test_a_stage_holds_the_gpus_that_its_model_is_served_on(store: Store, tiny_cell: Cell) -> None:
    spread = Serving(tensor_parallel=2, data_parallel=3)
    family = tiny_cell.family.model_copy(update={"serving": spread})
    cell = replace(tiny_cell, family=family, teacher_family=family)
    assert estimate_cost("regenerated_corpus", cell, store).gpus == 1
    served = changed(cell, "regeneration", engine="vllm")
    assert estimate_cost("regenerated_corpus", served, store).gpus == 6
    assert estimate_cost("regenerated_corpus", passed_through(served), store).gpus == 0
    assert [estimate_cost(name, served, store).gpus for name in ("seed_data", "competition_scores")] == [0, 0]
    assert estimate_cost("eval_report", changed(cell, "evaluation", engine="vllm"), store).gpus == 6
    assert estimate_cost("quantized_checkpoint", served, store).gpus == 1


def test_a_rounded_copy_takes_its_memory_too(store: Store, tiny_cell: Cell) -> None:
    fidelity, both = (
        estimate_cost("competition_scores", changed(tiny_cell, "competition", experts=experts), store)
        for experts in ({"activation_fidelity": 1.0}, {"activation_fidelity": 1.0, "sensitivity": 1.0})
    )
    assert fidelity.memory_gib and both.memory_gib
    runtime = RUNTIME / 2**30
    assert both.memory_gib - runtime == pytest.approx(2 * (fidelity.memory_gib - runtime), abs=0.002)
    assert fidelity.tokens == 8 * 2 * 24
    given = changed(passed_through(tiny_cell), "competition", experts={"activation_fidelity": 1.0})
    assert estimate_cost("competition_scores", given, store).memory_gib == fidelity.memory_gib


def test_a_selection_reads_winners_too(store: Store, tiny_cell: Cell) -> None:
    made(store, "calibration_set", tiny_cell, 10.0, 2**20)
    assert cost("calibration_set", tiny_cell, store) == (10.0, 1.0)
    chosen = changed(tiny_cell, "calibration", selection="coverage")
    assert cost("calibration_set", chosen, store) == (None, 1.0)
    assert estimate_cost("calibration_set", chosen, store).tokens == 128 + 8 * 24
    assert (
        estimate_cost(
            "calibration_set", changed(tiny_cell, "calibration", selection="diversity"), store
        ).tokens
        == 128
    )
