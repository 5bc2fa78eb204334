"""Log-probabilities of given text under a model, without keeping its logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from faq_pipeline.models.batches import by_length, padded

if TYPE_CHECKING:
    from transformers import PreTrainedModel

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

    The logits of a batch are held at once; `advance(n)` is told of every finished batch.
    """
    means = [0.0] * len(items)
    for batch in by_length([item.length for item in items]):
        logits = _forward(model, [items[i] for i in batch])
        for line, index in enumerate(batch):
            means[index] = _mean(logits[line], items[index])
        advance(len(batch))
    return means


def _forward(model: PreTrainedModel, items: Sequence[Scored]) -> torch.Tensor:
    """Logits of one batch, shape (items, longest, vocabulary)."""
    ids = padded([item.prompt + item.reply for item in items], model.device)
    lengths = torch.tensor([item.length for item in items], device=model.device)
    mask = torch.arange(ids.shape[1], device=model.device) < lengths[:, None]
    logits: torch.Tensor = model(input_ids=ids, attention_mask=mask.long(), use_cache=False).logits
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
