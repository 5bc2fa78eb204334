"""The sentence on what regeneration gained, where it cannot be told."""

from __future__ import annotations

from faq_pipeline.core.cell import Cell
from faq_pipeline.reporting.outcome import outcome
from faq_pipeline.settings import Settings


def test_a_baseline_that_is_gone_is_named(tiny_cell: Cell) -> None:
    recipe = tiny_cell.recipe.model_copy(update={"baselines": ["tiny-raw", "tiny-gone"]})
    cells = [tiny_cell.with_recipe(tiny_cell.recipe.model_copy(update={"name": "tiny-raw"}))]
    for tasks in ([], recipe.evaluation.tasks):
        evaluation = recipe.evaluation.model_copy(update={"tasks": tasks, "gate": None})
        own = tiny_cell.with_recipe(recipe.model_copy(update={"evaluation": evaluation}))
        told = outcome(Settings.from_environment(), [*cells, own], evaluated=True)
        assert told == "What regeneration gained cannot be told: baseline tiny-gone is not here any more."


def test_data_that_was_not_regenerated_is_named(tiny_cell: Cell) -> None:
    for source, what in (("original", "the seeds as they are"), ("random", "random tokens")):
        regeneration = tiny_cell.recipe.regeneration.model_copy(update={"source": source})
        cell = tiny_cell.with_recipe(tiny_cell.recipe.model_copy(update={"regeneration": regeneration}))
        assert what in outcome(Settings.from_environment(), [cell], evaluated=True)
