"""What can be found wrong with a cell before its first stage takes its time. No model is loaded."""

from __future__ import annotations

from faq_pipeline.cell import Cell
from faq_pipeline.competition.stage import check_room
from faq_pipeline.config.catalog import Catalog
from faq_pipeline.models import hub
from faq_pipeline.quantization.check import check_ranks, check_spec
from faq_pipeline.regeneration.context import check_leaves_room
from faq_pipeline.regeneration.corpus import SAMPLE_LIMIT
from faq_pipeline.regeneration.seeds import draw_seeds, load_seeds
from faq_pipeline.regeneration.stage import check_lengths
from faq_pipeline.regeneration.traces_stage import ANSWER_LIMIT
from faq_pipeline.runner import plan
from faq_pipeline.stages import STAGES
from faq_pipeline.store.store import Store


def check(cell: Cell, catalog: Catalog, store: Store) -> None:
    """Refuse what would stop one of the cell's stages.

    What needs the network or a tokenizer is asked only where something has to be made with it.

    Raises:
        FaqError: naming the recipe's file and line where a key of it is at fault: a group size, a
            limit or a sequence length that does not fit, an unknown expert, selection, engine or
            task, models that do not fit the device together, a missing file, seeds that are
            malformed, too few or too long, a hub that does not answer.
    """
    with catalog.blaming(cell.recipe):
        _check_files(cell)
        planned = plan(cell, STAGES, store)
        missing = {name for name, one in planned.items() if one.artifact is None}
        _check_hub(cell, missing)
        _check_lengths(cell, missing)


def _check_files(cell: Cell) -> None:
    """All that the recipe names: there, of the right form, and known."""
    check_spec(cell.recipe.quantization, cell.target)
    check_ranks(cell.recipe.quantization, cell.device)
    for stage in STAGES.values():
        stage.identity(cell)
    check_room(cell)
    seeds = cell.recipe.seeds
    if seeds.path is not None:
        load_seeds(seeds.path, seeds.count)


def _check_hub(cell: Cell, missing: set[str]) -> None:
    dataset, regeneration = cell.recipe.seeds.dataset, cell.recipe.regeneration
    if missing:
        hub.check_member(cell.target.member)
    if "seed_data" in missing and dataset is not None:
        hub.check_dataset(dataset)
    if "regenerated_corpus" in missing and cell.teacher is not None and regeneration.engine != "endpoint":
        hub.check_member(cell.teacher.member)


def _check_lengths(cell: Cell, missing: set[str]) -> None:
    """Limits, and seeds that are drawn here: what is not here yet is checked where it is made."""
    recipe, target, teacher = cell.recipe, cell.target, cell.teacher
    sampling = recipe.regeneration.sampling
    if target.member.path is None or (teacher is not None and teacher.member.path is None):
        return
    check_leaves_room(recipe.evaluation.max_new_tokens, target, ANSWER_LIMIT)
    if teacher is not None and sampling is not None:
        check_leaves_room(sampling.max_new_tokens, teacher, SAMPLE_LIMIT)
    if "regenerated_corpus" in missing and recipe.seeds.path is not None:
        known = load_seeds(recipe.seeds.path, recipe.seeds.count)
        check_lengths(cell, draw_seeds(known, recipe.seeds.count, recipe.draw))
