"""A process that makes a quantized checkpoint of tiny-deep, for tests that kill it.

`python -m tests.faults.quantizing DATA STORE RECIPE`
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path
from typing import Any

from faq_pipeline.config.catalog import Catalog
from faq_pipeline.core.resolver import resolve_cell
from faq_pipeline.core.stage import Build, Stage
from faq_pipeline.execution.runner import materialize
from faq_pipeline.models.device import choose_device
from faq_pipeline.quantization.stage import QUANTIZED_CHECKPOINT
from faq_pipeline.store.records import TokenRow, Trace
from faq_pipeline.store.store import Store
from faq_pipeline.store.tables import write_rows
from faq_pipeline.util.progress import SilentProgress

MEMBER = "tiny-deep"
TOKENS, ROWS = 128, 12


class RecordingProgress(SilentProgress):
    """Keeps what the user is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def _drawn(count: int, length: int) -> list[list[int]]:
    draws = random.Random(count)
    return [[draws.randrange(300) for _ in range(length)] for _ in range(count)]


def _calibration(job: Build) -> dict[str, Any]:
    rows = [TokenRow(i, ids) for i, ids in enumerate(_drawn(ROWS, TOKENS))]
    write_rows(job.directory / "rows.parquet", rows, TokenRow)
    return {}


def _traces(job: Build) -> dict[str, Any]:
    rows = [Trace(f"t{i}", "domain", ids, 8) for i, ids in enumerate(_drawn(12, 48))]
    write_rows(job.directory / "traces.parquet", rows, Trace)
    return {}


STAGES = {
    stage.name: stage
    for stage in (
        Stage("calibration_set", 1, (), lambda cell: {}, _calibration),
        Stage("inference_traces", 1, (), lambda cell: {}, _traces),
        QUANTIZED_CHECKPOINT,
    )
}


def quantize(data: Path, store: Store, recipe: str) -> list[str]:
    """Make the checkpoint if need be; what the user is told."""
    catalog = Catalog((data,))
    device = choose_device(os.environ.get("FAQ_DEVICE", "cpu"))
    cell = resolve_cell(catalog, MEMBER, catalog.recipe(recipe), device, store.root.parent / "digests")
    for name in ("calibration_set", "inference_traces"):
        materialize(name, cell, STAGES, store)
    told = RecordingProgress()
    materialize(QUANTIZED_CHECKPOINT.name, cell, STAGES, store, told)
    return told.notes


if __name__ == "__main__":
    quantize(Path(sys.argv[1]), Store(Path(sys.argv[2])), sys.argv[3])
