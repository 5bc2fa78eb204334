"""Drafts: the reference's answers, verified with another model in one forward pass.

A quantized model mostly gives the same answers as its reference. Greedy decoding takes the most likely
token at every step, so the tokens of a draft are accepted as long as each is the most likely one after
the tokens before it. From the first other token on, the model generates by itself. The answer is the same
as without a draft, except for near-ties, which different batch shapes may break differently anyway. One
pass over a draft costs a tenth of generating it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from faq_pipeline.evaluation.divergence import Passage, predicted_logits
from faq_pipeline.evaluation.generation import GenerationRow, Limits

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Drafts = Mapping[tuple[str, int], list[int]]
"""Token ids of a reply, including its end token, by (task, doc_id)."""


def accept_drafts(
    model: PreTrainedModel,
    rows: Sequence[GenerationRow],
    drafts: Sequence[list[int]],
    limits: Limits,
    advance: Callable[[int], None],
) -> None:
    """Give each row the accepted part of its draft and the model's next token.

    Args:
        drafts: one per row; empty if there is none.
        advance: called with the number of finished rows.
    """
    pairs = [(row, draft[: limits.max_new_tokens]) for row, draft in zip(rows, drafts, strict=True) if draft]
    # Sort by length to reduce padding.
    pairs.sort(key=lambda pair: len(pair[0].prompt) + len(pair[1]))
    passages = [Passage(row.prompt + draft, len(row.prompt)) for row, draft in pairs]
    for (row, draft), logits in zip(pairs, predicted_logits(model, passages, lambda done: None), strict=True):
        likeliest = logits.argmax(-1).tolist()
        agreed = next((i for i, (a, b) in enumerate(zip(draft, likeliest, strict=True)) if a != b), None)
        row.write(draft if agreed is None else [*draft[:agreed], likeliest[agreed]], limits)
        advance(row.over(limits))
