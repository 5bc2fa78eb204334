"""The stage `regenerated_corpus`: every seed's group of candidates, from the recipe's source."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from faq_pipeline.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.models.weights import check_vocabulary, vocabulary_digest
from faq_pipeline.progress import Progress
from faq_pipeline.records import Candidate, Seed, read_rows, write_rows
from faq_pipeline.regeneration.context import check_fits_context
from faq_pipeline.regeneration.controls import original_candidates, random_candidates
from faq_pipeline.regeneration.corpus import regenerate, teacher_engine
from faq_pipeline.regeneration.degeneration import is_empty, is_looping
from faq_pipeline.regeneration.seeds import seed_error
from faq_pipeline.stage import Build, Stage

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def _identity(cell: Cell) -> dict[str, Any]:
    """Each source declares what it uses, so that the controls do not move with the teacher."""
    regeneration, target = cell.recipe.regeneration, cell.target
    if regeneration.source == "original":
        return {"source": "original", "tokenizer": target.tokenizer_digest}
    groups = {
        "source": regeneration.source,
        "candidates": regeneration.candidates,
        "draw": cell.recipe.draw,
    }
    if regeneration.source == "random":
        length = cell.recipe.calibration.sequence_length
        return {**groups, "tokenizer": target.tokenizer_digest, "length": length}
    assert cell.teacher is not None and regeneration.sampling is not None
    return {
        **groups,
        # The name is there because candidates carry it.
        "teacher": cell.teacher.partition,
        "weights": cell.teacher.digest,
        "tokenizer": cell.teacher.tokenizer_digest,
        "prompts": cell.family.prompts.model_dump(),
        "thinking": cell.family.thinking.model_dump(),
        "sampling": regeneration.sampling.model_dump(),
        "engine": teacher_engine(cell).identity(),
    }


def _build(build: Build) -> dict[str, Any]:
    from faq_pipeline.models.loading import load_tokenizer

    cell = build.cell
    seeds = read_rows(build.inputs["seed_data"].file("seeds.parquet"), Seed)
    tokenizer = load_tokenizer(cell.target)
    _check_seeds(cell, seeds, tokenizer)
    started = time.perf_counter()
    rows, notes = _candidates(cell, seeds, tokenizer, build.progress)
    seconds = time.perf_counter() - started
    write_rows(build.directory / "candidates.parquet", rows, Candidate)
    return {**_figures(rows, seconds), "notes": notes}


def _candidates(
    cell: Cell, seeds: Sequence[Seed], tokenizer: PreTrainedTokenizerBase, progress: Progress
) -> tuple[list[Candidate], list[str]]:
    """The rows, and what the user should know about them."""
    from faq_pipeline.models.loading import load_tokenizer

    regeneration = cell.recipe.regeneration
    if regeneration.source == "original":
        return original_candidates(seeds, tokenizer), []
    if regeneration.source == "random":
        return random_candidates(
            seeds,
            tokenizer,
            candidates=regeneration.candidates,
            length=cell.recipe.calibration.sequence_length,
            draw=cell.recipe.draw,
        ), []
    assert cell.teacher is not None
    if not regeneration.allow_cross_family:
        check_vocabulary(cell.teacher, cell.target)
    teacher_tokenizer = load_tokenizer(cell.teacher)
    notes = _differences(cell, tokenizer, teacher_tokenizer)
    for note in notes:
        progress.note(note)
    return regenerate(cell, seeds, teacher_tokenizer, progress), notes


def _check_seeds(cell: Cell, seeds: Sequence[Seed], tokenizer: PreTrainedTokenizerBase) -> None:
    def error(seed: Seed, problem: str, mend: str) -> FaqError:
        return seed_error(cell.recipe.seeds, seed, problem, mend)

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


def _figures(rows: Sequence[Candidate], seconds: float) -> dict[str, Any]:
    generated = [row for row in rows if row.logprob is not None]
    tokens = sum(row.tokens for row in rows)
    logprob = sum(row.logprob for row in generated if row.logprob is not None)
    sampled = sum(row.tokens for row in generated)
    return {
        "candidates": len(rows),
        "groups": len({row.seed_id for row in rows}),
        "truncated": sum(row.finish == "length" for row in rows),
        "empty": sum(is_empty(row.text) for row in rows),
        "looping": sum(is_looping(row.text) for row in rows),
        "tokens": tokens,
        "mean_tokens": round(tokens / len(rows), 1) if rows else None,
        "tokens_per_second": round(sampled / seconds, 1) if generated else None,
        "mean_logprob_per_token": round(logprob / sampled, 4) if sampled else None,
    }


REGENERATED_CORPUS = Stage(
    name="regenerated_corpus",
    version=1,
    inputs=("seed_data",),
    identity=_identity,
    build=_build,
)
