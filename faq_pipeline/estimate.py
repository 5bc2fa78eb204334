"""What a stage would cost: memory and tokens from the cell, time and disk from past runs like it.

Upper bounds where a length is not known before generation; no figure is invented where nothing
like it has run here yet.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from faq_pipeline.cell import Cell
from faq_pipeline.models.device import working_bytes
from faq_pipeline.store.artifact import Manifest
from faq_pipeline.store.store import Store
from faq_pipeline.work import Work, work_of

GIB = 2**30


@dataclass(frozen=True)
class Estimate:
    """The cost of one stage. None: not known.

    Attributes:
        memory_gib: device memory while it runs.
        tokens: tokens generated or read, at most.
        disk_mib: of past artifacts of this form, scaled by what their size depends on.
        seconds: of past runs of this kind of work, scaled by tokens x parameters. A kind that reads
            no tokens is scaled by parameters alone, and by nothing where no model is loaded.
    """

    memory_gib: float | None
    tokens: int | None
    disk_mib: float | None
    seconds: float | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def estimate(stage: str, cell: Cell, store: Store) -> Estimate:
    """Estimate one stage of a cell from the artifacts of that stage in the store."""
    work = work_of(stage, cell)
    past = [artifact.manifest for artifact in store.artifacts(stage)]
    rate, size = _median(_rates(past, work)), _median(_sizes(past, work))
    return Estimate(
        memory_gib=round(working_bytes(work.parameters) / GIB, 3) if work.parameters else None,
        tokens=work.tokens or None,
        disk_mib=None if size is None or work.disk is None else round(size * work.disk / 2**20, 2),
        seconds=None if rate is None or work.load is None else round(rate * work.load, 1),
    )


# Artifacts made before works had kinds hold a bare figure; nothing is learnt from them.


def _rates(past: list[Manifest], work: Work) -> Iterator[float]:
    """Seconds per unit of load, of past work of the same kind."""
    for manifest in past:
        its = manifest.metadata.get("work")
        if isinstance(its, dict) and its["kind"] == work.kind and its["load"]:
            yield manifest.seconds / its["load"]


def _sizes(past: list[Manifest], work: Work) -> Iterator[float]:
    """Bytes per unit of what the size depends on, of past artifacts of the same form."""
    for manifest in past:
        its = manifest.metadata.get("work")
        if isinstance(its, dict) and its["form"] == work.form and its["disk"]:
            yield sum(file.bytes for file in manifest.files) / its["disk"]


def _median(values: Iterator[float]) -> float | None:
    found = list(values)
    return statistics.median(found) if found else None
