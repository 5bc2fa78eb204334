"""What a stage would cost: memory and tokens from the cell, time and disk from past runs like it.

Upper bounds where a length is not known before generation; no figure is invented where nothing
like it has run here yet.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any

from faq_pipeline.core.cell import Cell
from faq_pipeline.core.stage import Stage
from faq_pipeline.models.device_memory import peak_bytes
from faq_pipeline.store.store import Store

GIB = 2**30


@dataclass(frozen=True)
class CostEstimate:
    """The cost of one stage. None: not known.

    Attributes:
        memory_gib: while it runs: of the process on a CPU, else of the GPU. None where it loads no model.
        tokens: tokens generated or read, at most.
        disk_mib: of past artifacts of this form, scaled by what their size depends on.
        seconds: of past runs of this kind of work, scaled by tokens x parameters. A kind that reads
            no tokens, or not known how many, is scaled by parameters alone, and by nothing where no
            model is loaded. Where that kind has not run, of what it is worth in another kind.
        gpus: that are held while it runs, 0 where it loads no model.
    """

    memory_gib: float | None
    tokens: int | None
    disk_mib: float | None
    seconds: float | None
    gpus: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class PastRuns:
    """What past runs took, read from the store once for however many estimates."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rates: dict[str, dict[str, float]] = {}
        self._sizes: dict[str, dict[str, float]] = {}

    def estimate(self, stage: Stage, cell: Cell) -> CostEstimate:
        """Estimate one stage of a cell from the artifacts of that stage.

        Raises:
            FaqError: the cell names something unknown, or a file of its evaluation is not there.
        """
        if stage.name not in self._rates:
            self._read(stage.name)
        work = stage.work(cell)
        size = self._sizes[stage.name].get(work.form)
        known = [
            (self._rates[stage.name].get(kind), load)
            for kind, load in ((work.kind, work.load), *([work.worth] if work.worth else []))
        ]
        seconds = next((round(rate * load, 1) for rate, load in known if rate is not None), None)
        memory = peak_bytes(work.parameters, cell.target.member, cell.device)
        return CostEstimate(
            memory_gib=round(memory / GIB, 3) if work.parameters else None,
            tokens=work.tokens or None,
            disk_mib=None if size is None or work.disk is None else round(size * work.disk / 2**20, 2),
            seconds=seconds,
            gpus=work.gpus,
        )

    def _read(self, stage: str) -> None:
        """Medians of seconds a unit of load by kind, and of bytes a unit of what the size depends on by form.

        Artifacts made before works had kinds hold a bare figure; nothing is learnt from them.
        """
        rates: dict[str, list[float]] = defaultdict(list)
        sizes: dict[str, list[float]] = defaultdict(list)
        for artifact in self._store.artifacts(stage):
            manifest = artifact.manifest
            its = manifest.metadata.get("work")
            if not isinstance(its, dict):
                continue
            if its["load"] and not manifest.metadata.get("resumed"):  # or it took less than all of it takes
                rates[its["kind"]].append(manifest.seconds / its["load"])
            if its["disk"]:
                sizes[its["form"]].append(sum(file.bytes for file in manifest.files) / its["disk"])
        self._rates[stage] = {kind: statistics.median(found) for kind, found in rates.items()}
        self._sizes[stage] = {form: statistics.median(found) for form, found in sizes.items()}
