"""The workers of a study: this process, or a pool of processes that import the model libraries once."""

from __future__ import annotations

import errno
import gc
import multiprocessing
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.execution.runner import materialize
from faq_pipeline.gpu.lease import Lease
from faq_pipeline.models.cpu_threads import usable_cores
from faq_pipeline.models.device import device_gpus
from faq_pipeline.models.gpus import Gpu
from faq_pipeline.store.store import Store
from faq_pipeline.study.design.stages import STUDY_STAGES
from faq_pipeline.util.attributes import replaced_attribute
from faq_pipeline.util.lock_holder import Holder
from faq_pipeline.util.parent_watch import exit_with_parent
from faq_pipeline.util.progress import Progress, SilentProgress

LONGEST_NOTE = 900
"""Characters of a note from a worker process."""
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class TaskOutcome:
    """The artifact of a task, or why there is none to use.

    Attributes:
        fingerprint: of the artifact; empty if it was not made.
        problem: why the task failed or its artifact must not be used; empty if it succeeded.
        trace: traceback of an unexpected error.
    """

    fingerprint: str
    problem: str = ""
    trace: str = ""


Note = Callable[[str], None]


def _nobody(message: str) -> None:
    """Tell nobody."""


_reader: Note = _nobody
"""Reads the notes of the tasks that this process makes."""


def tell(message: str) -> None:
    """Hand a note to whoever runs the study, from one of its workers too."""
    _reader(message)


class _Notes(SilentProgress):
    """Hands on the notes of a task, for whom it waits among them."""

    def __init__(self, what: str) -> None:
        self._what = what

    def note(self, message: str) -> None:
        tell(f"{self._what}: {message}")


def make(stage: str, cell: Cell, root: Path, held: Sequence[Gpu] = ()) -> TaskOutcome:
    """Make the artifact of a stage in the store at `root`, which holds its inputs.

    Args:
        held: GPUs that the study has leased for all its workers; empty if each task takes its own lease.

    Raises:
        FaqError: the disk is full, so every other task would fail too.
    """
    try:
        progress = _Notes(f"{stage} of {cell.partition}")
        made = materialize(stage, cell, STUDY_STAGES, Store(root), progress, held=held)
        return TaskOutcome(made.artifact.fingerprint, made.stage.blocking_problem(cell, made.artifact))
    except FaqError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in FULL_DISK:
            raise
        return TaskOutcome("", str(error))
    except Exception as error:  # affects single cells only: record it and continue with the others
        line = (str(error) or "no message").splitlines()[0]
        return TaskOutcome("", f"{type(error).__name__}: {line}", traceback.format_exc())


class InlineExecutor(Executor):
    """Runs each submitted call immediately in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def default_count(device: str) -> int:
    """The default number of workers: one per core, or two per GPU, so that one prepares while one computes.

    Workers are not bound to GPUs: each stage leases a free GPU while it is built, see `gpu.lease`.
    """
    return 2 * len(device_gpus(device)) or usable_cores()


@contextmanager
def shared_gpus(device: str, processes: int, what: str, progress: Progress) -> Iterator[tuple[Gpu, ...]]:
    """Lease GPUs that all workers use at the same time; yields none if the workers take turns.

    Sharing suits models that leave a GPU idle most of the time. It is used if there are more workers
    than `default_count`.
    """
    gpus = device_gpus(device)
    if not gpus or processes <= default_count(device):
        yield ()
        return
    with Lease(gpus, len(gpus), Holder.this_process(what), progress) as lease:
        yield lease.gpus


class SharedGpus:
    """Hands out GPUs that several tasks use at the same time: to each task those with the fewest tasks first.

    Taking turns is not enough: tasks differ in length and memory, and one GPU fills up while another idles.
    """

    def __init__(self, gpus: Sequence[Gpu]) -> None:
        self._running = dict.fromkeys(gpus, 0)
        self._lock = threading.Lock()

    def submit(
        self, executor: Executor, fn: Callable[..., TaskOutcome], /, *args: Any
    ) -> Future[TaskOutcome]:
        """Submit `fn(*args, gpus)`; `gpus` is empty if none are shared."""
        with self._lock:
            gpus = tuple(sorted(self._running, key=self._running.__getitem__))  # stable: equal ones in order
            if gpus:
                self._running[gpus[0]] += 1
        future = executor.submit(fn, *args, gpus)
        future.add_done_callback(lambda _: self._done(gpus))
        return future

    def _done(self, gpus: tuple[Gpu, ...]) -> None:
        with self._lock:
            if gpus:
                self._running[gpus[0]] -= 1


class _Pool(ProcessPoolExecutor):
    """Processes whose garbage collector ignores objects that outlive a task.

    Each task collects garbage after each of its models. Traversing the modules of the model libraries
    every time took a quarter of a small model's task.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(_and_freeze, fn, *args, **kwargs)


def _and_freeze(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    try:
        return fn(*args, **kwargs)
    finally:
        gc.unfreeze()  # so that objects of earlier tasks that are garbage by now are collected too
        gc.collect()
        gc.freeze()


@contextmanager
def workers(count: int, note: Note = _nobody) -> Iterator[Executor]:
    """An executor with `count` processes (1: this process). They end with it, or if this process dies.

    Args:
        note: reads the notes of what is made; called in another thread if there are processes.
    """
    if count == 1:
        with replaced_attribute(sys.modules[__name__], "_reader", note):
            yield InlineExecutor()
        return
    context = multiprocessing.get_context("spawn")
    before = set(multiprocessing.active_children())
    reading, writing = context.Pipe(duplex=False)
    reader = threading.Thread(target=_read, args=(reading, note), daemon=True)
    reader.start()
    pool = _Pool(count, context, initializer=_begin, initargs=(writing,))
    try:
        yield pool
        pool.shutdown()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        raise
    finally:
        writing.close()
    reader.join()


def _read(notes: Connection, note: Note) -> None:
    """Hand notes on until all who write them have ended."""
    with suppress(EOFError, OSError):
        while True:
            note(notes.recv())


def _begin(notes: Connection) -> None:
    """Initialize a worker process."""
    global _reader
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; the parent handles it
    warnings.filterwarnings("ignore")
    exit_with_parent()  # otherwise the workers of a killed parent would wait for work forever
    _reader = partial(_send, notes)


def _send(notes: Connection, message: str) -> None:
    # Several processes write to one pipe: a message this short is written in one piece.
    with suppress(OSError):
        notes.send(message[:LONGEST_NOTE])
