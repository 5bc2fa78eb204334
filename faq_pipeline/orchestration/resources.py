"""Resources of assets: the pipeline (catalog, store, device) and the progress listener."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field, PrivateAttr, create_model

from faq_pipeline.core.cell import Cell
from faq_pipeline.execution.cell_resolver import CellResolver
from faq_pipeline.execution.recorded import BUSY, materialize_recorded
from faq_pipeline.execution.runner import Outcome
from faq_pipeline.lineage.index import merge
from faq_pipeline.orchestration.partitions import split
from faq_pipeline.settings import Settings
from faq_pipeline.util.progress import Progress

DEVICES = "auto, cpu, cuda, or some GPUs: cuda:1, cuda:0,1"

_built: dict[Settings, Settings] = {}
"""The settings that definitions were built from in this process: their families and recipes are read."""


class PipelineResource(dg.ConfigurableResource):
    """The pipeline's folders and device, by default those of the settings behind the definitions.

    The run configuration can override them.
    """

    home: str
    data: list[str]
    device: str = Field(description=DEVICES)
    _cells: CellResolver | None = PrivateAttr(default=None)
    _merge_later: bool = PrivateAttr(default=False)

    @classmethod
    def of(cls, settings: Settings, cells: CellResolver | None = None) -> PipelineResource:
        """The resource of these settings.

        Args:
            cells: where the caller has resolved cells already. They last as long as this very object;
                of a definition, Dagster makes an object for each run and each step's process.
        """
        _built[settings] = settings
        # Defaults of a class: run configuration that overrides one field keeps them for the others.
        bound: Any = create_model(
            cls.__name__,
            __base__=cls,
            __module__=__name__,
            home=(str, str(settings.home)),
            data=(list[str], [str(folder) for folder in settings.data]),
            device=(str, Field(default=settings.device, description=DEVICES)),
        )
        resource: PipelineResource = bound()
        resource._cells = cells
        return resource

    @property
    def cells(self) -> CellResolver:
        """Resolves each cell once a run (or step's process)."""
        if self._cells is None:
            folders = tuple(Path(folder).absolute() for folder in self.data)
            settings = Settings(Path(self.home).absolute(), folders, self.device)
            self._cells = CellResolver(_built.get(settings, settings))
        return self._cells

    def settings(self) -> Settings:
        """The settings: families and recipes as they were when the definitions were built."""
        return self.cells.settings

    def cell(self, partition_key: str) -> Cell:
        """The cell of a partition key `name@rev8|recipe`."""
        return self.cells.cell(*split(partition_key))

    def materialize(self, stage: str, cell: Cell, progress: Progress, run: str) -> Outcome:
        """Materialize a stage, record its use, and add it to the lineage index.

        A cache hit is added later, by `merge_hits`. If another program holds the index, a later run adds
        the artifact.
        """
        outcome = materialize_recorded(self.settings(), stage, cell, progress, run, index_hits=False)
        self._merge_later = outcome.hit
        return outcome

    def merge_hits(self) -> bool:
        """Bring the lineage index up to the cache hits since it was last merged.

        Returns:
            False where another program holds it.
        """
        due, self._merge_later = self._merge_later, False
        return not (due and merge(self.settings().store, self.settings().lineage).pending)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Dagster calls this when a run, or the process of a step, ends."""
        if not self.merge_hits() and context.log is not None:
            context.log.info(BUSY)


class LogProgress:
    """Progress as lines in Dagster's log: the start, every tenth with the remaining time, and notes."""

    def __init__(self, log: dg.DagsterLogManager) -> None:
        self._log, self._what, self._detail, self._total, self._done = log, "", "", 1, 0
        self._started = time.monotonic()

    def start(self, what: str, total: int) -> None:
        self._what, self._detail, self._total, self._done = what, "", max(total, 1), 0
        self._started = time.monotonic()
        self._log.info(f"{what}: 0/{total}")

    def advance(self, done: int = 1) -> None:
        before, self._done = self._done, self._done + done
        if before * 10 // self._total != self._done * 10 // self._total:
            left = (time.monotonic() - self._started) * (self._total - self._done) / self._done
            self._log.info(f"{self._what}: {self._done}/{self._total}, {left:.0f} s left{self._detail}")

    def detail(self, text: str) -> None:
        self._detail = f", {text}"

    def note(self, message: str) -> None:
        self._log.info(message)


class ProgressResource:
    """Provides each step with a progress listener. The CLI overrides it to draw bars in the terminal."""

    def listen(self, context: dg.AssetExecutionContext, stage: str) -> Progress:
        """The listener for one stage of one run."""
        return LogProgress(context.log)

    def finished(self, member: str, recipe: str, outcome: Outcome) -> None:
        """Called when a stage has its artifact. `recipe` is `all` for the comparison of a member."""

    def waits(self, message: str) -> None:
        """Called when a run in this process waits for a pool's slot, at once and then every minute."""
        dg.get_dagster_logger().info(message)
