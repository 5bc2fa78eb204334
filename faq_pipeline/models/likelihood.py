"""Log-probabilities of given text under a model, without keeping its logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCH_TOKENS = 2048
"""Positions in one forward pass, padding included: their logits are held at once, in bf16."""

CHUNK = 256
"""Positions whose logits are widened to float32 at once."""


@dataclass(frozen=True)
class Scored:
    """Token ids given to the model, and those whose log-probabilities are wanted. Neither is empty."""

    prompt: list[int]
    reply: list[int]

    @property
    def length(self) -> int:
        """Tokens of both together."""
        return len(self.prompt) + len(self.reply)


@torch.inference_mode()
def mean_logprobs(
    model: PreTrainedModel, items: Sequence[Scored], advance: Callable[[int], None]
) -> list[float]:
    """Mean log-probability (nats) per reply token of each item, in the order given.

    Batches hold items of like length; `advance(n)` is told of every finished batch.
    """
    order = sorted(range(len(items)), key=lambda i: (items[i].length, i))
    means = [0.0] * len(items)
    for batch in _batches(order, items):
        logits = _forward(model, [items[i] for i in batch])
        for line, index in enumerate(batch):
            means[index] = _mean(logits[line], items[index])
        advance(len(batch))
    return means


def _batches(order: Sequence[int], items: Sequence[Scored]) -> list[list[int]]:
    batches: list[list[int]] = []
    for index in order:
        # Sorted by length, so the item that comes last decides how wide the batch is.
        if batches and (len(batches[-1]) + 1) * items[index].length <= BATCH_TOKENS:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def _forward(model: PreTrainedModel, items: Sequence[Scored]) -> torch.Tensor:
    """Logits of one batch, shape (items, longest, vocabulary), padded on the right.

    Padding comes after every token that counts, so under causal attention it changes none of them.
    """
    width = max(item.length for item in items)
    ids = torch.zeros(len(items), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for line, item in enumerate(items):
        ids[line, : item.length] = torch.tensor(item.prompt + item.reply)
        mask[line, : item.length] = 1
    ids, mask = ids.to(model.device), mask.to(model.device)
    logits: torch.Tensor = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    return logits


def _mean(logits: torch.Tensor, item: Scored) -> float:
    """Mean log-probability of the reply from one line of logits, shape (longest, vocabulary)."""
    start = len(item.prompt) - 1
    wanted = torch.tensor(item.reply, device=logits.device)
    total = 0.0
    for i in range(0, len(item.reply), CHUNK):
        targets = wanted[i : i + CHUNK]
        chunk = logits[start + i : start + i + len(targets)].float()
        total -= float(torch.nn.functional.cross_entropy(chunk, targets, reduction="sum"))
    return total / len(item.reply)
