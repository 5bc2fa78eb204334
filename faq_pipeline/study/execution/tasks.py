"""The tasks of a study: each stage of each cell, once even if several cells need it.

All tasks are known before anything is made: the key of a task is a hash of what its stage declares and of
the keys of the tasks that it depends on. Two tasks may still give the same artifact (different inputs
with equal bytes); the second task is then a cache hit.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter

from faq_pipeline.core.cell import Cell
from faq_pipeline.core.stage import Stage
from faq_pipeline.store.fingerprint import fingerprint
from faq_pipeline.study.design.cells import StudyCell


@dataclass(frozen=True)
class Task:
    """One stage of `cell`, and of every other cell that declares the same inputs.

    Attributes:
        needs: keys of the tasks that it depends on.
    """

    key: str
    stage: str
    cell: Cell
    needs: tuple[str, ...]


class Tasks:
    """All tasks of some cells, handed out as soon as their inputs exist.

    Among the ready tasks, one that an earlier cell needs comes first.
    """

    def __init__(self, stages: Mapping[str, Stage], cells: Iterable[StudyCell]) -> None:
        """
        Args:
            cells: in order of priority.

        Raises:
            FaqError: a cell names something unknown, or one of its files does not exist.
        """
        self._stages = stages
        self._all: dict[str, Task] = {}
        self._cells: dict[str, list[StudyCell]] = {}
        self._keys: dict[str, dict[str, str]] = {}
        for cell in cells:
            keys = self._keys[cell.id] = {}
            self._key(cell.last, cell.cell, keys)
            for key in keys.values():
                self._cells.setdefault(key, []).append(cell)
        self._rank = {key: position for position, key in enumerate(self._all)}
        self._order = TopologicalSorter({task.key: task.needs for task in self._all.values()})
        self._order.prepare()
        self._ready: list[tuple[int, str]] = []
        self._failed: set[str] = set()

    def __len__(self) -> int:
        return len(self._all)

    def keys(self, cell: StudyCell) -> Mapping[str, str]:
        """The keys of a cell's tasks, by stage."""
        return self._keys[cell.id]

    def cells(self, task: Task) -> list[StudyCell]:
        """The cells that need the task."""
        return self._cells[task.key]

    def next(self) -> Task | None:
        """The next task whose inputs exist; None if there is none at the moment.

        Skips a task whose cells have all failed. Whatever needs it belongs to these cells too.
        """
        for key in self._order.get_ready():
            heapq.heappush(self._ready, (self._rank[key], key))
        while self._ready:
            _, key = heapq.heappop(self._ready)
            if any(cell.id not in self._failed for cell in self._cells[key]):
                return self._all[key]
        return None

    def done(self, task: Task) -> None:
        """Mark a task as done. Never called for a failed task, so tasks that need it are never returned."""
        self._order.done(task.key)

    def failed(self, task: Task) -> None:
        """Mark a task as failed, and with it all cells that need it."""
        self._failed.update(cell.id for cell in self._cells[task.key])

    def _key(self, name: str, cell: Cell, keys: dict[str, str]) -> str:
        """The key of a stage of the cell. Adds it and the keys of all upstream stages to `keys`."""
        if name not in keys:
            stage = self._stages[name]
            needs = {upstream: self._key(upstream, cell, keys) for upstream in stage.inputs_for(cell)}
            key = fingerprint(name, stage.version, stage.declare(cell), needs)
            self._all.setdefault(key, Task(key, name, cell, tuple(needs.values())))
            keys[name] = key
        return keys[name]
