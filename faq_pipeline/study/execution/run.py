"""Making a study: what is not finished yet, task by task, over some workers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import cycle

from faq_pipeline.core import stage_names
from faq_pipeline.errors import FaqError
from faq_pipeline.lineage.uses import cell_licences, cell_setting, record_use
from faq_pipeline.store.store import Store
from faq_pipeline.study.design.cells import Design, StudyCell
from faq_pipeline.study.design.stages import STUDY_STAGES
from faq_pipeline.study.execution.machine import machine
from faq_pipeline.study.execution.results import Result, is_finished, read_results, write_result
from faq_pipeline.study.execution.tasks import Task, Tasks
from faq_pipeline.study.execution.workers import TaskOutcome, make, shared_gpus, workers
from faq_pipeline.util.progress import Progress, SilentProgress

TRACED = (stage_names.QUANTIZED_CHECKPOINT,)
"""Stages, beside the last, whose use by a cell is recorded: what they were made from is found by them."""


@dataclass(frozen=True)
class Summary:
    """How a run of a study went.

    Attributes:
        cells: all that the study has (in this shard).
        before: finished by earlier runs.
        made: finished by this one.
        failed: why there is no figure, by cell.
    """

    cells: int
    before: int
    made: int
    failed: Mapping[str, str]
    seconds: float

    @property
    def left(self) -> int:
        """Cells that were not begun, or not ended, before the time was up."""
        return self.cells - self.before - self.made - len(self.failed)


def run_study(
    design: Design,
    store: Store,
    *,
    processes: int = 1,
    minutes: float = math.inf,
    progress: Progress | None = None,
) -> Summary:
    """Make every cell that has no result yet; those that failed are tried again.

    Args:
        processes: workers; more than take turns on the GPUs share them under one lease, see `shared_gpus`.
        minutes: after these no task is begun; those under way are finished.

    Raises:
        FaqError: a cell names something that is not there, the disk is full, or a worker died.
    """
    started, listener = time.monotonic(), progress or SilentProgress()
    results = read_results(store, design.study.name)
    waiting = [cell for cell in design.cells if not is_finished(cell, results, store)]
    tasks = Tasks(STUDY_STAGES, waiting)
    book = _Book(design, store, tasks, listener)
    listener.start("cells", len(design.cells))
    listener.advance(len(design.cells) - len(waiting))
    if waiting:
        device, what = waiting[0].cell.device, f"study {design.study.name}"
        count = min(processes, len(tasks))
        with shared_gpus(device, count, what, listener) as gpus, workers(count) as executor:
            turns = cycle(gpus[i:] + gpus[:i] for i in range(len(gpus) or 1))
            _carry_out(
                tasks,
                lambda task: executor.submit(make, task.stage, task.cell, store.root, next(turns)),
                book.record,
                capacity=processes,
                goes_on=lambda: time.monotonic() - started < 60 * minutes,
            )
    return Summary(
        cells=len(design.cells),
        before=len(design.cells) - len(waiting),
        made=len(book.finished),
        failed=book.failed,
        seconds=time.monotonic() - started,
    )


def _carry_out(
    tasks: Tasks,
    submit: Callable[[Task], Future[TaskOutcome]],
    record: Callable[[Task, TaskOutcome], None],
    *,
    capacity: int,
    goes_on: Callable[[], bool],
) -> None:
    """Keep `capacity` tasks under way until none is left that can be made."""
    under_way: dict[Future[TaskOutcome], Task] = {}
    while True:
        while len(under_way) < capacity and goes_on() and (task := tasks.next()) is not None:
            under_way[submit(task)] = task
        if not under_way:
            return
        ended, _ = wait(under_way, return_when=FIRST_COMPLETED)
        for future in ended:
            task = under_way.pop(future)
            try:
                made = future.result()
            except BrokenProcessPool:
                raise FaqError(
                    "a worker of the study died, perhaps for want of memory",
                    hint="run it again, with fewer --workers: what is finished is kept",
                ) from None
            if not made.problem:
                tasks.done(task)
            record(task, made)


@dataclass
class _Book:
    """What is made, and which cells are finished or failed by it."""

    design: Design
    store: Store
    tasks: Tasks
    progress: Progress
    made: dict[str, str] = field(default_factory=dict)
    finished: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)

    def record(self, task: Task, made: TaskOutcome) -> None:
        """Take in a task; cells that it ends get their results."""
        if made.fingerprint:
            self.made[task.key] = made.fingerprint
        self.progress.detail(f"{len(self.made)} of {len(self.tasks)} tasks")
        for cell in self.tasks.cells(task):
            if cell.id in self.failed:
                continue
            if made.problem:
                self.failed[cell.id] = f"{task.stage}: {made.problem}"
                self._keep(cell, self.failed[cell.id], made.trace)
                self.progress.note(f"{cell.id} failed in {self.failed[cell.id]}")
            elif cell.last == task.stage:
                self.finished.add(cell.id)
                self._keep(cell)

    def _keep(self, cell: StudyCell, problem: str = "", trace: str = "") -> None:
        keys = self.tasks.keys(cell)
        artifacts = {stage: self.made[key] for stage, key in keys.items() if key in self.made}
        study = self.design.study.name
        result = Result(
            id=cell.id,
            declared=cell.declared,
            judged=cell.judged,
            artifacts=artifacts,
            problem=problem,
            trace=trace,
            machine=machine(cell.cell.device),
        )
        write_result(self.store, study, result)
        partition = f"{cell.cell.target.partition}|study-{cell.cell.recipe.name}"
        for stage in (*TRACED, cell.last):
            if stage in artifacts:
                record_use(
                    self.store,
                    partition,
                    stage,
                    artifacts[stage],
                    cell_licences(cell.cell),
                    cell_setting(cell.cell),
                )
        self.progress.advance()
