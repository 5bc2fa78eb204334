"""What a stage of the pipeline is: a declared identity and a way to build its artifact.

A domain package offers its stages as values of `Stage`; `faq_pipeline.execution.graph` lists them, the
runner obtains their artifacts, Dagster's assets call the runner. Nothing here imports a model
library, so that plans and definitions stay light.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faq_pipeline.core.cell import Cell
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.util.progress import Progress, SilentProgress


@dataclass(frozen=True)
class Build:
    """What a stage's build function is given.

    Attributes:
        cell: where the stage takes GPUs, its device has just those that it was given.
        inputs: the artifacts of the stages named in `Stage.inputs`, by stage name.
        directory: an empty folder; what lies there afterwards is the artifact. Files must depend
            on the declared identity alone (no clock, no host name), so that digests repeat.
        ledgers: a folder that outlives a killed build, for what would be dear to make again.
        settled: to be called where large files in the directory will not change any more and there is
            something left to do: they are hashed and flushed meanwhile.
    """

    cell: Cell
    inputs: Mapping[str, Artifact]
    directory: Path
    ledgers: Path
    progress: Progress = field(default_factory=SilentProgress)
    settled: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        version: raise it when the stage's code changes what it writes.
        inputs: names of the upstream stages whose digests are part of the fingerprint.
        identity: the stage's own slice of the cell, as JSON-able data: recipe fields, digests of
            models and files, versions of the tools that shape its bytes. Never a path or a clock.
        build: makes the artifact; returns its metadata (JSON-able figures for people and reports;
            not part of the digest).
        measurements: names of files in which the stage measures what it made. They are kept and
            hashed, but no part of the digest: what comes after does not depend on them.
        gpus: on how many GPUs of this machine a cell's artifact is built, where the cell computes on
            GPUs; 0 where this cell's needs none. None for a stage that never loads a model.
        select: the upstream stages that matter for this cell, where not all of them do
            (round-to-nearest needs no calibration set).
    """

    name: str
    version: int
    inputs: tuple[str, ...]
    identity: Callable[[Cell], dict[str, Any]]
    build: Callable[[Build], dict[str, Any]]
    measurements: tuple[str, ...] = ()
    gpus: Callable[[Cell], int] | None = None
    select: Callable[[Cell, tuple[str, ...]], tuple[str, ...]] = lambda cell, inputs: inputs

    def inputs_for(self, cell: Cell) -> tuple[str, ...]:
        """The upstream stages whose artifacts this cell's artifact depends on."""
        return self.select(cell, self.inputs)
