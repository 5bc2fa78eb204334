"""A stage's artifact made, and written down: which cell uses it, and in the lineage index."""

from __future__ import annotations

from faq_pipeline.core.cell import Cell
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.execution.runner import Outcome, materialize
from faq_pipeline.lineage.index import merge
from faq_pipeline.lineage.uses import cell_licences, cell_setting, record_use
from faq_pipeline.settings import Settings
from faq_pipeline.util.progress import Progress

BUSY = "the lineage index is in use by another program; the next run will update it"


def materialize_recorded(
    settings: Settings,
    stage: str,
    cell: Cell,
    progress: Progress,
    run: str = "",
    *,
    index_hits: bool = True,
) -> Outcome:
    """As `runner.materialize`; afterwards the lineage index knows of the artifact, or will when it is free.

    Args:
        index_hits: False where the caller merges the index later, once for all cache hits.

    Raises:
        FaqError: with the recipe's file and line where a key of it is at fault; as `runner.materialize`.
    """
    store = settings.store
    with settings.catalog.attach_location(cell.recipe):
        outcome = materialize(stage, cell, STAGES, store, progress, run)
    fingerprint = outcome.artifact.fingerprint
    record_use(store, cell.partition, stage, fingerprint, cell_licences(cell), cell_setting(cell))
    if (index_hits or not outcome.hit) and merge(store, settings.lineage).pending:
        progress.note(BUSY)
    return outcome
