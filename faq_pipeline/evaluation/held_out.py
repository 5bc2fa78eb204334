"""Held-out text for measuring divergence: the reference's own answers, and plain prose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from faq_pipeline.config.recipe import Evaluation
from faq_pipeline.evaluation.divergence import Passage
from faq_pipeline.evaluation.documents import prose_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

T = TypeVar("T")


def spread(items: Sequence[T], count: int) -> list[T]:
    """`count` evenly spaced items, or all items if there are fewer."""
    if len(items) <= count:
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]


def prose_passages(spec: Evaluation, tokenizer: PreTrainedTokenizerBase, context: int) -> list[Passage]:
    """The first passages of the prose file as raw text, truncated to the context.

    Every token except the first is predicted.

    Raises:
        FaqError: the file is missing or malformed. The error has file and line.
    """
    rows = prose_rows(spec.prose)[: spec.traces]
    ids = [tokenizer(row.text)["input_ids"][:context] for row in rows]
    return [Passage(list(these), 1) for these in ids if len(these) > 1]
