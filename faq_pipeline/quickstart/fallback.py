"""What is told where a baseline stands in for a recipe whose regeneration left too little data."""

from __future__ import annotations

from faq_pipeline.competition.expert import groups_of
from faq_pipeline.core import stage_names
from faq_pipeline.core.cell import Cell
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.execution.runner import plan
from faq_pipeline.settings import Settings
from faq_pipeline.store.records import Candidate, Sample, Seed
from faq_pipeline.store.tables import read_rows

INSTEAD = (
    "Regeneration gave too little calibration data, so this checkpoint was calibrated on the seeds as they"
    " are, in the chat template; what regeneration would have gained cannot be told."
)


def fallback_outcome(settings: Settings, wanted: Cell, made: Cell) -> str:
    """What became of a recipe that could not be finished, and of the seeds that it left out.

    Args:
        wanted: the recipe's cell, finished up to its competition.
        made: the baseline's, finished.
    """
    count = _contradicted(settings, wanted, made)
    if not count:
        return INSTEAD
    holds, check = (
        ("1 seed with its own answer, though the only usable reply to it", "this answer")
        if count == 1
        else (f"{count} seeds with their own answers, though the only usable reply to each", "these answers")
    )
    return f"{INSTEAD} The set holds {holds} gives another: check {check}."


def _contradicted(settings: Settings, wanted: Cell, made: Cell) -> int:
    """Seeds in the baseline's set that the recipe left out for a wrong answer."""
    planned = plan(wanted, STAGES, settings.store)
    seeds, corpus = (
        planned[name].artifact for name in (stage_names.SEED_DATA, stage_names.REGENERATED_CORPUS)
    )
    held = plan(made, STAGES, settings.store)[stage_names.CALIBRATION_SET].artifact
    if seeds is None or corpus is None or held is None:
        return 0
    groups = groups_of(
        read_rows(seeds.file("seeds.parquet"), Seed), read_rows(corpus.file("candidates.parquet"), Candidate)
    )
    wrong = {group.seed.id for group in groups if group.wrong_alone}
    return len(wrong & {sample.seed_id for sample in read_rows(held.file("samples.parquet"), Sample)})
