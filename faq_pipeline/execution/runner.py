"""Plans and builds the artifacts of a cell."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faq_pipeline.core.cell import Cell
from faq_pipeline.core.stage import Build, Stage
from faq_pipeline.errors import MissingUpstreamError, disk_error
from faq_pipeline.gpu.placement import GpuPlacement
from faq_pipeline.models.device import device_kind
from faq_pipeline.models.gpus import Gpu
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.fingerprint import fingerprint
from faq_pipeline.store.store import Key, Store
from faq_pipeline.util.progress import Progress, SilentProgress


@dataclass(frozen=True)
class PlannedStage:
    """A stage of a cell before it runs. `key` is None while an input's digest is not known yet."""

    stage: Stage
    key: Key | None
    artifact: Artifact | None

    @property
    def cache(self) -> str:
        return "hit" if self.artifact is not None else "miss"


@dataclass(frozen=True)
class Outcome:
    """A stage of a cell after it ran, with the artifacts that it was made from, by stage."""

    stage: Stage
    artifact: Artifact
    hit: bool
    seconds: float
    inputs: Mapping[str, Artifact] = field(default_factory=dict)

    @property
    def cache(self) -> str:
        return "hit" if self.hit else "miss"


def plan(cell: Cell, stages: Mapping[str, Stage], store: Store) -> dict[str, PlannedStage]:
    """Every stage of the cell, in order, with its artifact where there is one."""
    planned: dict[str, PlannedStage] = {}
    for stage in stages.values():
        inputs = {name: planned[name].artifact for name in stage.inputs_for(cell)}
        if any(artifact is None for artifact in inputs.values()):
            planned[stage.name] = PlannedStage(stage, None, None)
            continue
        key = _key(stage, cell, {name: a for name, a in inputs.items() if a is not None})
        planned[stage.name] = PlannedStage(stage, key, store.get(stage.name, key.fingerprint))
    return planned


def materialize(
    name: str,
    cell: Cell,
    stages: Mapping[str, Stage],
    store: Store,
    progress: Progress | None = None,
    run: str = "",
    held: Sequence[Gpu] = (),
) -> Outcome:
    """The artifact of one stage, made if it is not there. Its inputs must be there.

    Args:
        run: Dagster's run, for others who wait for the same GPU.
        held: GPUs on which the caller has a lease itself.

    Raises:
        MissingUpstreamError: names the input stages to run first.
    """
    started = time.perf_counter()
    stage = stages[name]
    planned = plan(cell, _needed(stage, cell, stages), store)
    inputs: dict[str, Artifact] = {}
    for upstream in stage.inputs_for(cell):
        artifact = planned[upstream].artifact
        if artifact is None:
            raise MissingUpstreamError(
                f"{name} of {cell.partition} needs {upstream}, which is not made yet",
                hint=f"materialize {upstream} first",
            )
        inputs[upstream] = artifact
    progress = progress or SilentProgress()
    placed = GpuPlacement(stage, cell, progress, run, held)
    key = _key(stage, cell, inputs)
    owner = f"{name} of {cell.partition}, draw {cell.recipe.draw}, on {device_kind(cell.device)}"

    def build(folder: Path) -> dict[str, Any]:
        job = Build(
            placed.cell,
            inputs,
            folder,
            store.ledgers,
            progress,
            settled=lambda: store.settle(folder),
            unfinished=lambda: store.unfinished.claim(key.fingerprint, owner),
        )
        return {**stage.build(job), "work": stage.work(cell).as_dict()}

    try:
        artifact, hit = store.produce(key, build, within=placed, note=progress.note)
    except Exception as error:
        if (disk_problem := disk_error(error, store.root.parent)) is None:
            raise
        raise disk_problem from error
    return Outcome(stage, artifact, hit, time.perf_counter() - started, inputs)


def _needed(stage: Stage, cell: Cell, stages: Mapping[str, Stage]) -> dict[str, Stage]:
    """The stages upstream of `stage`, in order."""
    names: set[str] = set()
    queue = list(stage.inputs_for(cell))
    while queue:
        name = queue.pop()
        names.add(name)
        queue.extend(stages[name].inputs_for(cell))
    return {name: s for name, s in stages.items() if name in names}


def _key(stage: Stage, cell: Cell, inputs: Mapping[str, Artifact]) -> Key:
    identity = stage.declare(cell)
    digests = {name: artifact.digest for name, artifact in inputs.items()}
    return Key(
        stage=stage.name,
        stage_version=stage.version,
        fingerprint=fingerprint(stage.name, stage.version, identity, digests),
        identity=identity,
        inputs=digests,
        upstream={name: artifact.fingerprint for name, artifact in inputs.items()},
        measurements=stage.measurements,
    )
