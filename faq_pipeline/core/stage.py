"""A stage of the pipeline: a declared identity, a way to build its artifact, and what others ask of it.

A domain package offers its stages as values of `Stage`; `faq_pipeline.execution.graph` lists them, the
runner materializes their artifacts, Dagster's assets call the runner. Whoever asks a stage for its cost,
its checks or the names of its fields asks the value: nothing else depends on a stage's name. Nothing
here imports a model library, so that plans and definitions stay light.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faq_pipeline.core.cell import Cell
from faq_pipeline.core.check import Check
from faq_pipeline.core.labels import Labels
from faq_pipeline.core.stage_work import UNKNOWN_WORK, StageWork
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
        unfinished: gives a folder of this artifact's own that outlives a killed build, and is deleted once
            the artifact is there. None where nothing can be kept.
    """

    cell: Cell
    inputs: Mapping[str, Artifact]
    directory: Path
    ledgers: Path
    progress: Progress = field(default_factory=SilentProgress)
    settled: Callable[[], None] = lambda: None
    unfinished: Callable[[], Path | None] = lambda: None


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
        measurements: names of files in which the stage measures or shows what it made. They are kept
            and hashed, but no part of the digest: what comes after does not depend on them.
        gpus: on how many GPUs of this machine a cell's artifact is built, where the cell computes on
            GPUs; 0 where this cell's needs none. None for a stage that never loads a model.
        select: the upstream stages that matter for this cell, where not all of them do
            (round-to-nearest needs no calibration set).
        work: how much there is to do for a cell; time and disk are estimated by it. It is kept in the
            manifest, so that later estimates learn from the run.
        labels: names shown to users when a field of the identity has changed, see `labels`.
        checks: the contract of the artifact. They run with every materialization, on hits too.
        preflight: raises a FaqError for what would stop the build, before any stage of the cell has taken
            its time. It reads local files at most.
        preflight_missing: the same where the artifact has to be made: it may ask the network and load
            tokenizers, but no model.
    """

    name: str
    version: int
    inputs: tuple[str, ...]
    identity: Callable[[Cell], dict[str, Any]]
    build: Callable[[Build], dict[str, Any]]
    measurements: tuple[str, ...] = ()
    gpus: Callable[[Cell], int] | None = None
    select: Callable[[Cell, tuple[str, ...]], tuple[str, ...]] = lambda cell, inputs: inputs
    work: Callable[[Cell], StageWork] = lambda cell: UNKNOWN_WORK
    labels: Labels = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    preflight: Callable[[Cell], None] = lambda cell: None
    preflight_missing: Callable[[Cell], None] = lambda cell: None

    def inputs_for(self, cell: Cell) -> tuple[str, ...]:
        """The upstream stages whose artifacts this cell's artifact depends on."""
        return self.select(cell, self.inputs)

    def declare(self, cell: Cell) -> dict[str, Any]:
        """The identity, computed once for a stage and a cell; not to be changed.

        Raises:
            FaqError: the cell names something unknown, or a file of it is missing.
        """
        if self.identity not in cell.identities:
            cell.identities[self.identity] = self.identity(cell)
        return cell.identities[self.identity]

    def blocking_problem(self, cell: Cell, artifact: Artifact) -> str:
        """Why a blocking check fails on the cell's artifact, in one line; empty where all pass."""
        for check in self.checks:
            if check.blocking and not (result := check.run(cell, artifact)).passed:
                facts = "; ".join(f"{name}: {value}" for name, value in result.metadata.items() if value)
                return f"check {check.name} failed: {facts}"
        return ""
