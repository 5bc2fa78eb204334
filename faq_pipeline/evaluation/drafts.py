"""Drafts: what the reference answered, checked against another model in one pass.

A quantized model mostly answers as its reference did. Greedy decoding takes the likeliest token at
every step, so the tokens of a draft hold as long as each is the likeliest after those before it; from
the first that is not, the model goes on by itself. The answer is the one that decoding from nothing
gives, but for near-ties, which batches of other shapes may resolve otherwise anyway. One pass over a
draft costs a tenth of writing it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from faq_pipeline.evaluation.divergence import Passage, predicted_logits
from faq_pipeline.evaluation.generation import GenerationRow, Limits

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Drafts = Mapping[tuple[str, int], list[int]]
"""Token ids of a reply, its end mark included, by (task, doc_id)."""


def accept_drafts(
    model: PreTrainedModel,
    rows: Sequence[GenerationRow],
    drafts: Sequence[list[int]],
    limits: Limits,
    advance: Callable[[int], None],
) -> None:
    """Give each row the part of its draft that the model would have written, and its next token.

    Args:
        drafts: one a row; empty where there is none.
        advance: told of every row that is over.
    """
    pairs = [(row, draft[: limits.max_new_tokens]) for row, draft in zip(rows, drafts, strict=True) if draft]
    # Of like length together, so that little is spent on padding.
    pairs.sort(key=lambda pair: len(pair[0].prompt) + len(pair[1]))
    passages = [Passage(row.prompt + draft, len(row.prompt)) for row, draft in pairs]
    for (row, draft), logits in zip(pairs, predicted_logits(model, passages, lambda done: None), strict=True):
        likeliest = logits.argmax(-1).tolist()
        agreed = next((i for i, (a, b) in enumerate(zip(draft, likeliest, strict=True)) if a != b), None)
        row.write(draft if agreed is None else [*draft[:agreed], likeliest[agreed]], limits)
        advance(row.over(limits))
