"""Control candidates that no model writes: original seeds and random tokens."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from faq_pipeline.config.recipe import ORIGINAL, RANDOM
from faq_pipeline.regeneration.corpus import candidate_id
from faq_pipeline.store.records import Candidate, Seed
from faq_pipeline.util.seeded_choice import hashed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def original_candidates(seeds: Sequence[Seed], tokenizer: PreTrainedTokenizerBase) -> list[Candidate]:
    """Each seed passed through as the one candidate of its group: its text and its given answer.

    Args:
        tokenizer: the target's; `tokens` counts the text in it.
    """
    return [_given(ORIGINAL, seed, 0, seed.text, seed.answer or "", tokenizer) for seed in seeds]


def random_candidates(
    seeds: Sequence[Seed],
    tokenizer: PreTrainedTokenizerBase,
    *,
    candidates: int,
    length: int,
    draw: int,
) -> list[Candidate]:
    """Groups of `candidates` texts of about `length` tokens, each token drawn uniformly.

    Drawn from those of the vocabulary that are text by themselves: no special or added tokens and
    no parts of a character. The text is what a token list decodes to; read again, it may become
    somewhat other and fewer tokens, which `tokens` counts.

    Args:
        tokenizer: the target's.
    """
    vocabulary = _plain_tokens(tokenizer)
    rows = []
    for seed in seeds:
        for position in range(candidates):
            # Python's own generator, since its sequence for a seed is part of the language.
            generator = random.Random(hashed("random", draw, seed.id, position))
            ids = [vocabulary[int(generator.random() * len(vocabulary))] for _ in range(length)]
            text = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
            rows.append(_given(RANDOM, seed, position, str(text), "", tokenizer))
    return rows


def _plain_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    added = set(tokenizer.added_tokens_decoder) | set(tokenizer.all_special_ids)
    ids = [i for i in range(len(tokenizer)) if i not in added]
    texts = tokenizer.batch_decode([[i] for i in ids], clean_up_tokenization_spaces=False)
    return [i for i, text in zip(ids, texts, strict=True) if text and "\N{REPLACEMENT CHARACTER}" not in text]


def _given(
    source: str,
    seed: Seed,
    position: int,
    text: str,
    answer: str,
    tokenizer: PreTrainedTokenizerBase,
) -> Candidate:
    return Candidate(
        id=candidate_id(seed.id, position, source, text),
        seed_id=seed.id,
        position=position,
        source=source,
        model=None,
        prompt="",
        text=text,
        reasoning="",
        answer=answer,
        tokens=len(tokenizer(text, add_special_tokens=False)["input_ids"]),
        logprob=None,
        finish="given",
    )
