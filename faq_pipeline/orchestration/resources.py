"""Resources of assets: the pipeline (catalog, store, device) and the progress listener."""

import os
import time
from functools import cache
from pathlib import Path

import dagster as dg
from pydantic import Field

from faq_pipeline.core.cell import Cell
from faq_pipeline.core.resolver import resolve_cell
from faq_pipeline.execution.recorded import materialize_recorded
from faq_pipeline.execution.runner import Outcome
from faq_pipeline.orchestration.partitions import split
from faq_pipeline.settings import ENVIRONMENT, Settings
from faq_pipeline.util.progress import Progress


class PipelineResource(dg.ConfigurableResource):
    """The pipeline's folders and device. Empty fields take the values of the environment (see `settings`)."""

    home: str = ""
    data: list[str] = []
    device: str = Field(default="", description="auto, cpu, cuda, or some GPUs: cuda:1, cuda:0,1")

    def settings(self) -> Settings:
        """The settings of the environment, overridden by the fields of this resource."""
        environment = tuple(os.environ.get(name) for name in ENVIRONMENT)
        return _settings(self.home, tuple(self.data), self.device, environment)

    def cell(self, partition_key: str) -> Cell:
        """The cell of a partition key `name@rev8|recipe`."""
        member, recipe = split(partition_key)
        settings = self.settings()
        catalog = settings.catalog
        return resolve_cell(catalog, member, catalog.recipe(recipe), settings.device, settings.digests)

    def materialize(self, stage: str, cell: Cell, progress: Progress, run: str) -> Outcome:
        """Materialize a stage, record its use, and add it to the lineage index.

        If another program holds the index, a later run adds the artifact.
        """
        return materialize_recorded(self.settings(), stage, cell, progress, run)


@cache
def _settings(home: str, data: tuple[str, ...], device: str, environment: tuple[str | None, ...]) -> Settings:
    """Cached, so that a run keeps the families and recipes that it started with."""
    found = Settings.from_environment()
    return Settings(
        home=Path(home).absolute() if home else found.home,
        data=tuple(Path(folder).absolute() for folder in data) or found.data,
        device=device or found.device,
    )


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
