"""The work in tasks: what cells share is there once, and comes before what needs it."""

from __future__ import annotations

from collections import Counter

import pytest

from faq_pipeline.study.design.cells import Design
from faq_pipeline.study.design.stages import STUDY_STAGES
from faq_pipeline.study.execution.machine import machine
from faq_pipeline.study.execution.tasks import Task, Tasks
from faq_pipeline.study.execution.workers import default_count
from tests.gpu.fakes import have_cores, make_gpus


def handed_out(tasks: Tasks, fails: frozenset[str] = frozenset()) -> list[Task]:
    """All tasks in the order in which they come, all but some of them made."""
    found = []
    while (task := tasks.next()) is not None:
        found.append(task)
        if task.stage in fails:
            tasks.failed(task)
        else:
            tasks.done(task)
    return found


def test_what_cells_share_is_made_once(design: Design) -> None:
    tasks = Tasks(STUDY_STAGES, design.cells)
    made = handed_out(tasks)
    assert len(made) == len(tasks) == len({task.key for task in made})
    count = Counter(task.stage for task in made)
    # One target: its traces once, a reference for either split. Seeds by draw, two of them pilots'.
    assert (count["inference_traces"], count["reference_eval"], count["seed_data"]) == (1, 2, 4)
    # Teacher's groups, its single samples, the target's, random tokens, originals (at every draw too).
    assert count["regenerated_corpus"] == 4 * 2 + 4
    # Both quantizers are fed from one calibration set.
    assert count["calibration_set"] == 7 * 2 + 2 * 2
    assert count["divergence"] + count["eval_report"] == len(design.cells)


def test_a_piece_comes_after_all_that_it_is_made_from(design: Design) -> None:
    made: set[str] = set()
    tasks = Tasks(STUDY_STAGES, design.cells)
    for task in handed_out(tasks):
        assert made.issuperset(task.needs)
        made.add(task.key)
    for cell in design.cells:
        assert made.issuperset(tasks.keys(cell).values())


def test_cells_come_in_their_order(design: Design) -> None:
    tasks = Tasks(STUDY_STAGES, design.cells)
    ends = [task for task in handed_out(tasks) if task.stage in ("divergence", "eval_report")]
    ended = [cell.id for task in ends for cell in tasks.cells(task)]
    assert ended == [cell.id for cell in design.cells]


def test_what_needs_a_failed_piece_never_comes_up(design: Design) -> None:
    tasks = Tasks(STUDY_STAGES, design.cells)
    found = handed_out(tasks, fails=frozenset({"regenerated_corpus"}))
    ended = {cell.arm for task in found if task.stage == "divergence" for cell in tasks.cells(task)}
    assert ended == {"rtn"}  # it needs no corpus
    assert "calibration_set" not in {task.stage for task in found}


def test_what_failed_cells_alone_need_is_not_handed_out(design: Design) -> None:
    tasks = Tasks(STUDY_STAGES, design.cells)
    first = tasks.next()
    assert first is not None
    lost = {cell.id for cell in tasks.cells(first)}
    tasks.failed(first)
    found = handed_out(tasks)
    assert all({cell.id for cell in tasks.cells(task)} - lost for task in found)
    whole = [cell for cell in design.cells if cell.id not in lost]
    made = {task.key for task in found}
    assert whole and lost and all(made.issuperset(tasks.keys(cell).values()) for cell in whole)
    assert made == {key for cell in whole for key in tasks.keys(cell).values()}


def test_processes_are_counted_and_told_by_the_gpus_that_were_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faq_pipeline.models.gpus.installed_gpus", lambda: make_gpus("H100", "H100", "H100"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [default_count(device) for device in ("cuda", "cuda:1", "cuda:0,2")] == [6, 2, 4]
    have_cores(monkeypatch, 3)
    assert default_count("cpu") == 3
    told = machine("cuda:1")
    assert (told["kind"], told["device"]) == ("cuda", "H100")
