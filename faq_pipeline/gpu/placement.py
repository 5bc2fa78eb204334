"""Gives a cell its GPUs while one stage is built."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Self

from faq_pipeline.core.cell import Cell
from faq_pipeline.core.stage import Stage
from faq_pipeline.gpu.lease import Lease
from faq_pipeline.models.device import device_gpus, device_of
from faq_pipeline.models.gpus import Gpu
from faq_pipeline.models.loading import release
from faq_pipeline.util.lock_holder import Holder
from faq_pipeline.util.progress import Progress


class GpuPlacement:
    """Context manager: inside it, `cell` has the GPUs that the stage needs, and nobody else uses them.

    On a CPU, and for a stage that loads no model, the cell is unchanged. A stage that wants more GPUs
    than this machine has gets all of them: the server reports what it lacks, or uses other machines.

    Args:
        run: Dagster's run, for those who wait.
        held: GPUs that the caller has leased already: the first ones are used, and no lease is taken.
    """

    def __init__(
        self, stage: Stage, cell: Cell, progress: Progress, run: str = "", held: Sequence[Gpu] = ()
    ) -> None:
        self.cell = cell
        self._stage, self._progress, self._run, self._held = stage, progress, run, held
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        among = self._held or device_gpus(self.cell.device)
        count = 0 if self._stage.gpus is None else min(self._stage.gpus(self.cell), len(among))
        if count:
            gpus = self._held[:count] or self._leased(among, count)
            self._stack.push(_free_memory)
            self.cell = replace(self.cell, device=device_of(gpus))
        return self

    def _leased(self, among: Sequence[Gpu], count: int) -> Sequence[Gpu]:
        holder = Holder.this_process(f"{self._stage.name} of {self.cell.partition}", self._run)
        return self._stack.enter_context(Lease(among, count, holder, self._progress)).gpus

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)


def _free_memory(
    kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
) -> None:
    """Free memory before the lease ends. After a failure, frames of the traceback still hold the models."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
    release()
