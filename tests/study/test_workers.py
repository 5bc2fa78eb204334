"""Processes that make tasks: what a task leaves behind does not pile up."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from concurrent.futures import Executor

import pytest

from faq_pipeline.study.execution.workers import tell, workers


class Knot:
    """Refers to itself, so that the garbage collector alone can take it away."""

    def __init__(self) -> None:
        self.itself = self


KEPT: list[Knot] = []
SEEN: list[weakref.ref[Knot]] = []


def keep() -> int:
    KEPT.append(Knot())
    SEEN.append(weakref.ref(KEPT[0]))
    return os.getpid()


def drop() -> int:
    KEPT.clear()
    return os.getpid()


def count_alive() -> tuple[int, int]:
    return os.getpid(), sum(ref() is not None for ref in SEEN)


TRIES = 1000
"""Pieces after which a process that takes none is broken: both of a pool take them as they come."""


def in_process(pool: Executor, process: int, task: Callable[[], int]) -> None:
    """Let a process of a pool make a task, whatever others make."""
    assert any(pool.submit(task).result() == process for _ in range(TRIES))


def test_what_one_piece_kept_and_a_later_one_let_go_is_collected() -> None:
    with workers(2) as pool:
        process = pool.submit(keep).result()
        in_process(pool, process, drop)
        alive: dict[int, int] = {}
        for _ in range(TRIES):
            alive.update([pool.submit(count_alive).result()])
            if process in alive:
                break
    assert alive[process] == 0


@pytest.mark.parametrize("count", [1, 3])
def test_what_workers_tell_arrives_whole(count: int) -> None:
    """For whom they wait, say: of processes that tell at once, every note is read."""
    sent, notes = [f"note {i} " + "x" * (7 * i) for i in range(60)], list[str]()
    with workers(count, notes.append) as pool:
        list(pool.map(tell, sent))
    assert sorted(notes) == sorted(sent)
