"""The regenerated corpus: a group of candidates for each seed, written by a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faq_pipeline.core.cell import Cell
from faq_pipeline.core.engines import teacher_engine, teacher_identity
from faq_pipeline.errors import FaqError
from faq_pipeline.inference.engine import Completion, Request
from faq_pipeline.inference.ledger import Ledger
from faq_pipeline.inference.sampling import Sampled, sample
from faq_pipeline.models.chat import split_thinking
from faq_pipeline.prompting.context_length import check_fits_context
from faq_pipeline.prompting.prompts import seed_prompt
from faq_pipeline.regeneration.seeds import seed_error
from faq_pipeline.store.fingerprint import short_hash
from faq_pipeline.store.records import Candidate, Failed, Seed
from faq_pipeline.util.progress import Progress
from faq_pipeline.util.seeded_choice import hashed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Regenerated:
    """The candidates, why some of them have no text, and what they cost."""

    candidates: list[Candidate]
    failed: list[Failed]
    sampled: Sampled


SAMPLE_LIMIT = "regeneration.sampling.max_new_tokens"


def candidate_id(seed_id: str, position: int, source: str, text: str) -> str:
    """A candidate's id: a hash of its content, equal wherever it is made."""
    return short_hash(f"{seed_id}|{position}|{source}|{text}".encode())


def engine_configuration(cell: Cell) -> dict[str, Any]:
    """What every sample of the cell's teacher depends on besides its own request."""
    assert cell.teacher is not None and cell.recipe.regeneration.sampling is not None
    return {
        "weights": cell.teacher.digest,
        "tokenizer": cell.teacher.tokenizer_digest,
        "sampling": cell.recipe.regeneration.sampling.model_dump(),
        "engine": teacher_identity(cell),
    }


def regenerate(
    cell: Cell,
    seeds: Sequence[Seed],
    tokenizer: PreTrainedTokenizerBase,
    ledgers: Path,
    progress: Progress,
) -> Regenerated:
    """The groups of all seeds, in seed order and by position, sampled from the cell's teacher.

    Args:
        tokenizer: the teacher's.
        ledgers: where finished candidates are kept, see `regeneration.ledger`.

    Raises:
        FaqError: a seed's prompt and max_new_tokens do not fit the teacher's context, the family's
            prompt cannot be rendered, or the engine fails for good.
    """
    regeneration = cell.recipe.regeneration
    assert cell.teacher is not None and regeneration.sampling is not None
    prompts = checked_prompts(cell, seeds, tokenizer)
    requests = {
        (seed.id, position): Request(
            id=f"{seed.id}#{position}",
            prompt=prompts[seed.id],
            seed=hashed("candidate", cell.recipe.draw, seed.id, position),
        )
        for seed in seeds
        for position in range(regeneration.candidates)
    }
    ledger = Ledger(ledgers, engine_configuration(cell))
    sampled = sample(teacher_engine(cell), requests.values(), regeneration.sampling, ledger, progress)
    rows = [
        _candidate(cell, seed_id, position, request.prompt, sampled.completions[request.id])
        for (seed_id, position), request in requests.items()
    ]
    failed = [
        Failed(row.id, row.seed_id, row.position, completion.error)
        for row in rows
        if (completion := sampled.completions[f"{row.seed_id}#{row.position}"]).finish == "error"
    ]
    return Regenerated(rows, failed, sampled)


def checked_prompts(cell: Cell, seeds: Sequence[Seed], tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    """What the teacher is asked, by seed. `tokenizer` is its own.

    Raises:
        FaqError: see `regenerate`.
    """

    def error(seed: Seed, problem: str, hint: str) -> FaqError:
        return seed_error(cell.recipe.seeds, seed, f"as a prompt {problem}", hint)

    assert cell.teacher is not None and cell.recipe.regeneration.sampling is not None
    prompts = {seed.id: seed_prompt(seed, cell.family, tokenizer) for seed in seeds}
    check_fits_context(
        ((seed, prompts[seed.id]) for seed in seeds),
        tokenizer,
        cell.teacher,
        error,
        new_tokens=cell.recipe.regeneration.sampling.max_new_tokens,
        key=SAMPLE_LIMIT,
    )
    return prompts


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
