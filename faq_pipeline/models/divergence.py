"""KL divergence between the predictions of two models on given text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import kl_div, log_softmax

from faq_pipeline.models.batches import by_length, padded

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CHUNK = 256
"""Positions whose logits are widened to float32 at once."""


@torch.inference_mode()
def mean_divergences(
    model: PreTrainedModel,
    other: PreTrainedModel,
    samples: Sequence[Sequence[int]],
    advance: Callable[[int], None],
) -> list[float]:
    """Mean over its tokens of KL(model || other), in nats, of each sample (token ids, none empty).

    Both models predict after every token, over the whole vocabulary. The logits of one batch are
    held at once; `advance(n)` is told of every finished batch.
    """
    means = [0.0] * len(samples)
    for batch in by_length([len(ids) for ids in samples]):
        ids = padded([samples[i] for i in batch], model.device)
        ours, theirs = (one(input_ids=ids, use_cache=False).logits for one in (model, other))
        for line, index in enumerate(batch):
            tokens = len(samples[index])
            means[index] = _total(ours[line, :tokens], theirs[line, :tokens]) / tokens
        advance(len(batch))
    return means


def mean_divergence(
    model: PreTrainedModel, other: PreTrainedModel, samples: Sequence[Sequence[int]]
) -> float:
    """Mean of KL(model || other) over all tokens of the samples, in nats a token."""
    means = mean_divergences(model, other, samples, lambda _: None)
    tokens = [len(sample) for sample in samples]
    return sum(mean * count for mean, count in zip(means, tokens, strict=True)) / sum(tokens)


def _total(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Sum over positions of KL(ours || theirs), of logits of shape (positions, vocabulary)."""
    total = 0.0
    for p, q in zip(ours.split(CHUNK), theirs.split(CHUNK), strict=True):
        p, q = log_softmax(p.float(), dim=-1), log_softmax(q.float(), dim=-1)
        total += float(kl_div(q, p, reduction="sum", log_target=True))
    return total
