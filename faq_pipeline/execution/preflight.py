"""Checks a cell before its first stage runs. No model is loaded."""

from __future__ import annotations

from collections.abc import Mapping

from faq_pipeline.config.catalog import Catalog
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.stage import Stage
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.execution.runner import plan
from faq_pipeline.models import hub
from faq_pipeline.store.store import Store


def check(cell: Cell, catalog: Catalog, store: Store, stages: Mapping[str, Stage] = STAGES) -> None:
    """Refuse a cell if one of its stages would fail; each stage checks itself, see `Stage.preflight`.

    The network and tokenizers are used only if a missing artifact needs them.

    Args:
        stages: those that are to run, in order.

    Raises:
        FaqError: naming the recipe's file and line where a key of it is at fault: a group size, a
            limit or a sequence length that does not fit, an unknown expert, selection, engine or
            task, models that do not fit the device together, a missing file, seeds that are
            malformed, too few or too long, a hub that does not answer.
    """
    with catalog.attach_location(cell.recipe):
        check_stages(cell, store, stages)


def check_stages(cell: Cell, store: Store, stages: Mapping[str, Stage]) -> None:
    """As `check`; errors name a key of the recipe, and no place."""
    for stage in stages.values():
        stage.declare(cell)
        stage.preflight(cell)
    planned = plan(cell, stages, store)
    missing = [one.stage for one in planned.values() if one.artifact is None]
    if missing:
        hub.check_member(cell.target.member)
    for stage in missing:
        stage.preflight_missing(cell)
