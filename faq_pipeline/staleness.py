"""What a cell declares, before anything of it is made."""

from __future__ import annotations

from faq_pipeline.cell import Cell
from faq_pipeline.stages import STAGES
from faq_pipeline.store.fingerprint import fingerprint


def cell_fingerprint(cell: Cell) -> str:
    """One key for all that the cell's stages declare: recipe, target, teacher, tools, stage versions.

    It changes when any stage would have to be made anew, and is known before any is made; nothing
    is downloaded for it.

    Raises:
        FaqError: the recipe names something unknown, or a file of it is not there.
    """
    declared = {stage.name: [stage.version, stage.identity(cell)] for stage in STAGES.values()}
    return fingerprint("cell", 1, declared, {})


def declared_keys(cell: Cell) -> dict[str, str]:
    """A key of each stage, known before anything is made: cells with the same key share the artifact.

    Raises:
        FaqError: see `cell_fingerprint`.
    """
    keys: dict[str, str] = {}
    for stage in STAGES.values():
        inputs = {name: keys[name] for name in stage.inputs_for(cell)}
        keys[stage.name] = fingerprint(stage.name, stage.version, stage.identity(cell), inputs)
    return keys
