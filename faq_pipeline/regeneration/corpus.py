"""The regenerated corpus: a group of candidates for each seed, written by a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from faq_pipeline.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.models.chat import split_thinking
from faq_pipeline.progress import Progress
from faq_pipeline.records import Candidate, Seed
from faq_pipeline.regeneration.context import check_fits_context
from faq_pipeline.regeneration.drawing import hashed
from faq_pipeline.regeneration.engine import Completion, Engine, Request
from faq_pipeline.regeneration.engines import make_engine
from faq_pipeline.regeneration.prompts import seed_prompt
from faq_pipeline.regeneration.seeds import seed_error
from faq_pipeline.store.fingerprint import short_hash

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def candidate_id(seed_id: str, position: int, source: str, text: str) -> str:
    """A candidate's id: a hash of its content, equal wherever it is made."""
    return short_hash(f"{seed_id}|{position}|{source}|{text}".encode())


def teacher_engine(cell: Cell) -> Engine:
    """The engine that the recipe names, for the cell's teacher. Nothing is loaded yet.

    Raises:
        FaqError: no engine has that name.
    """
    assert cell.teacher is not None
    regeneration = cell.recipe.regeneration
    return make_engine(regeneration.engine, cell.teacher, cell.device, regeneration.batch_size)


def regenerate(
    cell: Cell, seeds: Sequence[Seed], tokenizer: PreTrainedTokenizerBase, progress: Progress
) -> list[Candidate]:
    """The groups of all seeds, in seed order and by position, sampled from the cell's teacher.

    Args:
        tokenizer: the teacher's.

    Raises:
        FaqError: a seed's prompt and max_new_tokens do not fit the teacher's context, the family's
            prompt cannot be rendered, or the teacher cannot be loaded.
    """
    regeneration = cell.recipe.regeneration
    assert cell.teacher is not None and regeneration.sampling is not None
    prompts = {seed.id: seed_prompt(seed, cell.family, tokenizer) for seed in seeds}
    _check_prompts(cell, seeds, prompts, tokenizer)
    requests = {
        (seed.id, position): Request(
            id=f"{seed.id}#{position}",
            prompt=prompts[seed.id],
            seed=hashed("candidate", cell.recipe.draw, seed.id, position),
        )
        for seed in seeds
        for position in range(regeneration.candidates)
    }
    progress.start("candidates", len(requests))
    completions: dict[str, Completion] = {}
    with teacher_engine(cell) as engine:
        for completion in engine.generate(requests.values(), regeneration.sampling):
            completions[completion.request_id] = completion
            progress.advance()
    return [
        _candidate(cell, seed_id, position, request.prompt, completions[request.id])
        for (seed_id, position), request in requests.items()
    ]


def _check_prompts(
    cell: Cell,
    seeds: Sequence[Seed],
    prompts: dict[str, str],
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    def error(seed: Seed, problem: str, mend: str) -> FaqError:
        return seed_error(cell.recipe.seeds, seed, f"as a prompt {problem}", mend)

    assert cell.teacher is not None and cell.recipe.regeneration.sampling is not None
    check_fits_context(
        ((seed, prompts[seed.id]) for seed in seeds),
        tokenizer,
        cell.teacher,
        error,
        new_tokens=cell.recipe.regeneration.sampling.max_new_tokens,
    )


def _candidate(cell: Cell, seed_id: str, position: int, prompt: str, completion: Completion) -> Candidate:
    assert cell.teacher is not None
    source = cell.recipe.regeneration.source
    reasoning, answer = split_thinking(completion.text, cell.family.thinking)
    return Candidate(
        id=candidate_id(seed_id, position, source, completion.text),
        seed_id=seed_id,
        position=position,
        source=source,
        model=cell.teacher.partition,
        prompt=prompt,
        text=completion.text,
        reasoning=reasoning,
        answer=answer,
        tokens=completion.tokens,
        logprob=completion.logprob,
        finish=completion.finish,
    )
