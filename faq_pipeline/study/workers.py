"""Who makes the pieces of a study: this process, or several that import the model libraries once."""

from __future__ import annotations

import errno
import gc
import multiprocessing
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faq_pipeline.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.leases.holder import Holder
from faq_pipeline.leases.lease import Lease
from faq_pipeline.models.device import device_gpus, usable_cores
from faq_pipeline.models.gpus import Gpu
from faq_pipeline.progress import Progress
from faq_pipeline.runner import obtain
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.store import Store
from faq_pipeline.study.stages import STUDY_STAGES
from faq_pipeline.with_parent import end_with_the_parent

Blocked = Callable[[str, Cell, Artifact], str]
"""Why a stage's artifact must not be used, in one line; empty if it may. Importable by name."""

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Made:
    """An artifact, or why there is none that can be used."""

    fingerprint: str
    problem: str = ""
    trace: str = ""


def make(stage: str, cell: Cell, root: Path, blocked: Blocked, held: Sequence[Gpu] = ()) -> Made:
    """The artifact of a stage in the store at `root`, its inputs being there.

    Args:
        held: GPUs on which the study has a lease for all its workers; none where each takes its own.

    Raises:
        FaqError: the disk is full: no other piece will fare better.
    """
    try:
        artifact = obtain(stage, cell, STUDY_STAGES, Store(root), held=held).artifact
        return Made(artifact.fingerprint, blocked(stage, cell, artifact))
    except FaqError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in FULL_DISK:
            raise
        return Made("", str(error))
    except Exception as error:  # of one cell: the study goes on, and its table says so
        line = (str(error) or "no message").splitlines()[0]
        return Made("", f"{type(error).__name__}: {line}", traceback.format_exc())


class Here(Executor):
    """Runs what is submitted at once, in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def default_count(device: str) -> int:
    """Processes that suit a device: one a core; two a GPU, of which one prepares while the other computes.

    They need not be spread over the GPUs: whoever builds a stage is given a free one, see `leases`.
    """
    return 2 * len(device_gpus(device)) or usable_cores()


@contextmanager
def shared_gpus(device: str, processes: int, what: str, progress: Progress) -> Iterator[tuple[Gpu, ...]]:
    """GPUs that all workers may use at the same time, under one lease; none where they take turns.

    For models that leave a GPU idle most of the time. Whoever asks for more workers than could take
    turns wants that.
    """
    among = device_gpus(device)
    if not among or processes <= default_count(device):
        yield ()
        return
    with Lease(among, len(among), Holder.this_process(what), progress) as lease:
        yield lease.gpus


class _Pool(ProcessPoolExecutor):
    """Processes whose garbage collector passes over what outlives a piece.

    Each piece collects garbage after each of its models; walking the modules of the model libraries
    every time took a quarter of a small model's piece.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(_and_freeze, fn, *args, **kwargs)


def _and_freeze(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    try:
        return fn(*args, **kwargs)
    finally:
        gc.unfreeze()  # so that what earlier pieces left alive, and is garbage now, goes too
        gc.collect()
        gc.freeze()


@contextmanager
def workers(count: int) -> Iterator[Executor]:
    """An executor with `count` processes (1: this one). They end with it, and with this process."""
    if count == 1:
        yield Here()
        return
    context = multiprocessing.get_context("spawn")
    before = set(multiprocessing.active_children())
    pool = _Pool(count, context, initializer=_begin)
    try:
        yield pool
        pool.shutdown()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        raise


def _begin() -> None:
    """What each worker does first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; the parent decides
    warnings.filterwarnings("ignore")
    end_with_the_parent()  # workers would wait for work for ever where it was killed
