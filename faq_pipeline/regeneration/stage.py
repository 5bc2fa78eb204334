"""The stage `regenerated_corpus`: every seed's group of candidates, from the recipe's source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from faq_pipeline.config.recipe import ORIGINAL, RANDOM
from faq_pipeline.core import labels, stage_names
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.engines import teacher_gpus, teacher_traits
from faq_pipeline.core.stage import Build, Stage
from faq_pipeline.errors import FaqError
from faq_pipeline.models import hub
from faq_pipeline.models.chat import check_renders
from faq_pipeline.models.weights import check_vocabulary, vocabulary_digest
from faq_pipeline.prompting.context_length import check_fits_context, check_leaves_room
from faq_pipeline.regeneration.checks import CORPUS_CHECKS
from faq_pipeline.regeneration.controls import original_candidates, random_candidates
from faq_pipeline.regeneration.corpus import (
    SAMPLE_LIMIT,
    checked_prompts,
    engine_configuration,
    regenerate,
)
from faq_pipeline.regeneration.cost import corpus_work
from faq_pipeline.regeneration.figures import corpus_figures, sampling_figures, unclosed_notes
from faq_pipeline.regeneration.seeds import draw_seeds, load_seeds, seed_error
from faq_pipeline.store.records import Candidate, Failed, Seed
from faq_pipeline.store.tables import read_rows, write_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def _identity(cell: Cell) -> dict[str, Any]:
    """Each source declares what it uses, so that the controls do not move with the teacher."""
    regeneration, target = cell.recipe.regeneration, cell.target
    if regeneration.source == ORIGINAL:
        return {"source": ORIGINAL, "tokenizer": target.tokenizer_digest}
    groups = {
        "source": regeneration.source,
        "candidates": regeneration.candidates,
        "draw": cell.recipe.draw,
    }
    if regeneration.source == RANDOM:
        length = cell.recipe.calibration.sequence_length
        return {**groups, "tokenizer": target.tokenizer_digest, "length": length}
    assert cell.teacher is not None and regeneration.sampling is not None
    return {
        **groups,
        # The name is there because candidates carry it.
        "teacher": cell.teacher.partition,
        "prompts": cell.family.prompts.model_dump(),
        "thinking": cell.family.thinking.model_dump(),
        **engine_configuration(cell),
    }


def _build(build: Build) -> dict[str, Any]:
    from faq_pipeline.models.loading import load_tokenizer

    cell = build.cell
    seeds = read_rows(build.inputs[stage_names.SEED_DATA].file("seeds.parquet"), Seed)
    tokenizer = load_tokenizer(cell.target)
    _check_seeds(cell, seeds, tokenizer)
    rows, more = _candidates(build, seeds, tokenizer)
    write_rows(build.directory / "candidates.parquet", rows, Candidate)
    figures = corpus_figures(rows, cell.family.thinking)
    unclosed = unclosed_notes(figures)
    for note in unclosed:
        build.progress.note(note)
    return {**figures, **more, "notes": [*more.get("notes", []), *unclosed]}


def _candidates(
    build: Build, seeds: Sequence[Seed], tokenizer: PreTrainedTokenizerBase
) -> tuple[list[Candidate], dict[str, Any]]:
    """The rows; and `notes` for the user and what a model's work cost, where there was one."""
    from faq_pipeline.models.loading import load_tokenizer

    cell, regeneration = build.cell, build.cell.recipe.regeneration
    if regeneration.source == ORIGINAL:
        return original_candidates(seeds, tokenizer), {}
    if regeneration.source == RANDOM:
        return random_candidates(
            seeds,
            tokenizer,
            candidates=regeneration.candidates,
            length=cell.recipe.calibration.sequence_length,
            draw=cell.recipe.draw,
        ), {}
    assert cell.teacher is not None
    if not regeneration.allow_cross_family:
        check_vocabulary(cell.teacher, cell.target)
    teacher_tokenizer = load_tokenizer(cell.teacher)
    notes = _differences(cell, tokenizer, teacher_tokenizer)
    for note in notes:
        build.progress.note(note)
    made = regenerate(cell, seeds, teacher_tokenizer, build.ledgers, build.progress)
    if made.failed:
        write_rows(build.directory / "failed.parquet", made.failed, Failed)
        notes.append(f"{len(made.failed)} candidates failed, the first with: {made.failed[0].error}")
        build.progress.note(notes[-1])
    return made.candidates, {
        "notes": notes,
        "vocabulary": vocabulary_digest(cell.teacher),
        **sampling_figures(made.candidates, made.sampled),
    }


def _preflight(cell: Cell) -> None:
    """Samples leave room for a prompt in a local teacher's context."""
    teacher, sampling = cell.teacher, cell.recipe.regeneration.sampling
    if teacher is not None and teacher.member.path is not None and sampling is not None:
        check_leaves_room(sampling.max_new_tokens, teacher, SAMPLE_LIMIT)


def _preflight_missing(cell: Cell) -> None:
    """The teacher's repository answers; the seeds fit the models, where all of these are local.

    So do a local teacher's configuration, tokenizer and template. Otherwise the build checks the seeds.
    """
    from faq_pipeline.models.loading import check_settings, shared_tokenizer

    seeds, teacher = cell.recipe.seeds, cell.teacher
    if teacher is not None and not teacher_traits(cell).remote:
        hub.check_member(teacher.member)
    if teacher is not None and teacher.member.path is not None:
        check_settings(teacher)
        thinking = (cell.teacher_family or cell.family).thinking
        check_renders(shared_tokenizer(teacher), thinking, replies=False)
    models = [cell.target, *([] if teacher is None else [teacher])]
    if seeds.path is None or any(model.member.path is None for model in models):
        return
    drawn = draw_seeds(load_seeds(seeds.path, seeds.count), seeds.count, cell.recipe.draw)
    _check_seeds(cell, drawn, shared_tokenizer(cell.target))
    if teacher is not None:
        checked_prompts(cell, drawn, shared_tokenizer(teacher))


def _check_seeds(cell: Cell, seeds: Sequence[Seed], tokenizer: PreTrainedTokenizerBase) -> None:
    def error(seed: Seed, problem: str, hint: str) -> FaqError:
        return seed_error(cell.recipe.seeds, seed, problem, hint)

    check_fits_context(((seed, seed.text) for seed in seeds), tokenizer, cell.target, error)


def _differences(cell: Cell, target: PreTrainedTokenizerBase, teacher: PreTrainedTokenizerBase) -> list[str]:
    """Differences between teacher and target that are allowed, because only text crosses."""
    assert cell.teacher is not None
    pair = f"{cell.teacher.name} and {cell.target.name}"
    notes = []
    if vocabulary_digest(cell.teacher) != vocabulary_digest(cell.target):
        notes.append(f"{pair} have other base tokenizers: only text crosses, and is tokenized again")
    if teacher.chat_template != target.chat_template:
        notes.append(f"{pair} have other chat templates: winners are rendered again in the target's")
    sizes = [member.config.get("vocab_size") for member in (cell.teacher, cell.target)]
    if sizes[0] != sizes[1]:
        notes.append(
            f"{pair} have padded vocabularies of {sizes[0]} and {sizes[1]}: winners are tokenized"
            " again with the target's tokenizer"
        )
    return notes


REGENERATED_CORPUS = Stage(
    name=stage_names.REGENERATED_CORPUS,
    version=1,
    inputs=(stage_names.SEED_DATA,),
    identity=_identity,
    build=_build,
    gpus=teacher_gpus,
    work=corpus_work,
    labels={
        **labels.TARGET,
        **labels.engine_labels("regeneration", "engine"),
        "tokenizer": "tokenizer of the teacher",
        "source": "regeneration.source",
        "candidates": "regeneration.candidates",
        "sampling": "regeneration.sampling",
        "length": "calibration.sequence_length",
    },
    checks=CORPUS_CHECKS,
    preflight=_preflight,
    preflight_missing=_preflight_missing,
)
