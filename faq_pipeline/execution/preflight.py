"""What can be found wrong with a cell before its first stage takes its time. No model is loaded."""

from __future__ import annotations

from faq_pipeline.config.catalog import Catalog
from faq_pipeline.core.cell import Cell
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.execution.runner import plan
from faq_pipeline.models import hub
from faq_pipeline.store.store import Store


def check(cell: Cell, catalog: Catalog, store: Store) -> None:
    """Refuse what would stop one of the cell's stages; each stage knows what that is, see `Stage.preflight`.

    What needs the network or a tokenizer is asked only where something has to be made with it.

    Raises:
        FaqError: naming the recipe's file and line where a key of it is at fault: a group size, a
            limit or a sequence length that does not fit, an unknown expert, selection, engine or
            task, models that do not fit the device together, a missing file, seeds that are
            malformed, too few or too long, a hub that does not answer.
    """
    with catalog.attach_location(cell.recipe):
        for stage in STAGES.values():
            stage.identity(cell)
            stage.preflight(cell)
        planned = plan(cell, STAGES, store)
        missing = [one.stage for one in planned.values() if one.artifact is None]
        if missing:
            hub.check_member(cell.target.member)
        for stage in missing:
            stage.preflight_missing(cell)
