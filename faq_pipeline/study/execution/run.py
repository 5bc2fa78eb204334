"""Run a study: make its unfinished cells, task by task, on several workers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field

from faq_pipeline.core import stage_names
from faq_pipeline.errors import FaqError
from faq_pipeline.execution.preflight import check_stages
from faq_pipeline.lineage.uses import cell_licences, cell_setting, record_use
from faq_pipeline.store.store import Store
from faq_pipeline.study.design.cells import Design, StudyCell
from faq_pipeline.study.design.recipes import Spec
from faq_pipeline.study.design.stages import STUDY_STAGES
from faq_pipeline.study.execution.machine import machine
from faq_pipeline.study.execution.results import (
    Result,
    damaged_results,
    is_finished,
    read_results,
    write_result,
)
from faq_pipeline.study.execution.tasks import Task, Tasks
from faq_pipeline.study.execution.workers import SharedGpus, TaskOutcome, make, shared_gpus, workers
from faq_pipeline.util.memoize import memoizing
from faq_pipeline.util.progress import Progress, SilentProgress

TRACED = (stage_names.QUANTIZED_CHECKPOINT,)
"""Stages, besides the last, whose use by a cell is recorded. Their inputs are found through them."""

SHARED = (stage_names.INFERENCE_TRACES, stage_names.REFERENCE_EVAL)
"""Stages whose faults are the study's. A fault in another fails the cells of its arm alone."""


@dataclass(frozen=True)
class Summary:
    """The outcome of a study run.

    Attributes:
        cells: number of cells of the study (in this shard).
        before: number of cells finished by earlier runs.
        made: number of cells finished by this run.
        failed: the problem of each failed cell, by cell id.
        seconds: duration of the run.
    """

    cells: int
    before: int
    made: int
    failed: Mapping[str, str]
    seconds: float

    @property
    def left(self) -> int:
        """Number of cells that were not started or not finished in time."""
        return self.cells - self.before - self.made - len(self.failed)


def run_study(
    design: Design,
    store: Store,
    *,
    processes: int = 1,
    minutes: float = math.inf,
    progress: Progress | None = None,
) -> Summary:
    """Make every unfinished cell. Failed cells are tried again.

    Args:
        processes: number of workers. Above a limit they share the GPUs under one lease; see
            `shared_gpus`.
        minutes: no task starts after this time; running tasks are finished.

    Raises:
        FaqError: a name is unknown, a task cannot be asked, the disk is full, or a worker died.
    """
    started, listener = time.monotonic(), progress or SilentProgress()
    results = read_results(store, design.study.name)
    waiting = [cell for cell in design.cells if not is_finished(cell, results, store)]
    damaged = damaged_results(store, design.study.name)
    if damaged:
        what = "1 damaged result is" if len(damaged) == 1 else f"{len(damaged)} damaged results are"
        listener.note(f"{damaged[0].parent}: {what} ignored; the cells are made again")
    tasks = Tasks(STUDY_STAGES, waiting)
    with memoizing():
        _check(design, waiting, tasks, store)
    recorder = _Recorder(design, store, tasks, listener)
    listener.start("cells", len(design.cells))
    listener.advance(len(design.cells) - len(waiting))
    if waiting:
        device, what = waiting[0].cell.device, f"study {design.study.name}"
        count = min(processes, len(tasks))
        with shared_gpus(device, count, what, listener) as gpus, workers(count, listener.note) as executor:
            shared = SharedGpus(gpus)
            _execute(
                tasks,
                lambda task: shared.submit(executor, make, task.stage, task.cell, store.root),
                recorder.record,
                capacity=processes,
                may_start=lambda: time.monotonic() - started < 60 * minutes,
            )
    return Summary(
        cells=len(design.cells),
        before=len(design.cells) - len(waiting),
        made=len(recorder.finished),
        failed=recorder.failed,
        seconds=time.monotonic() - started,
    )


def _check(design: Design, cells: Sequence[StudyCell], tasks: Tasks, store: Store) -> None:
    """Preflight what arms share, once for each target and split, before the first task."""
    checked: set[tuple[str, ...]] = set()
    for one in cells:
        keys = {name: key for name, key in tasks.keys(one).items() if name in SHARED}
        if (found := tuple(keys.values())) not in checked:
            with design.recipes.attach_location(
                Spec(one.cell.family.name, one.arm, one.quantizer, one.split)
            ):
                check_stages(one.cell, store, {name: STUDY_STAGES[name] for name in SHARED if name in keys})
            checked.add(found)


def _execute(
    tasks: Tasks,
    submit: Callable[[Task], Future[TaskOutcome]],
    record: Callable[[Task, TaskOutcome], None],
    *,
    capacity: int,
    may_start: Callable[[], bool],
) -> None:
    """Keep up to `capacity` tasks running until no task can start."""
    running: dict[Future[TaskOutcome], Task] = {}
    while True:
        while len(running) < capacity and may_start() and (task := tasks.next()) is not None:
            # A worker may die while a result is recorded: then the pool takes no task any more.
            with _living_workers():
                running[submit(task)] = task
        if not running:
            return
        ended, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in ended:
            task = running.pop(future)
            with _living_workers():
                made = future.result()
            if made.problem:
                tasks.failed(task)
            else:
                tasks.done(task)
            record(task, made)


@contextmanager
def _living_workers() -> Iterator[None]:
    """Tell in one line that a worker died. Its tasks are not recorded, so the next run makes them."""
    try:
        yield
    except BrokenProcessPool:
        raise FaqError(
            "a worker process of the study died, possibly out of memory",
            hint="run the study again with fewer --workers; finished work is kept",
        ) from None


@dataclass
class _Recorder:
    """Records finished tasks, and writes the results of cells that finish or fail with them."""

    design: Design
    store: Store
    tasks: Tasks
    progress: Progress
    made: dict[str, str] = field(default_factory=dict)
    finished: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)

    def record(self, task: Task, made: TaskOutcome) -> None:
        """Record a task, and write the result of every cell that it finishes or fails."""
        if made.fingerprint:
            self.made[task.key] = made.fingerprint
        self.progress.detail(f"{len(self.made)} of {len(self.tasks)} tasks")
        for cell in self.tasks.cells(task):
            if cell.id in self.failed:
                continue
            if made.problem:
                self.failed[cell.id] = f"{task.stage}: {made.problem}"
                self._write(cell, self.failed[cell.id], made.trace)
                self.progress.note(f"{cell.id} failed in {self.failed[cell.id]}")
            elif cell.last == task.stage:
                self.finished.add(cell.id)
                self._write(cell)

    def _write(self, cell: StudyCell, problem: str = "", trace: str = "") -> None:
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
