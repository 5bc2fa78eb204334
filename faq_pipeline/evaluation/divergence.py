"""KL divergence of a quantized model from its reference, per token, in nats.

KL(p || q) = sum over the vocabulary of p (log p - log q), p the reference's next-token distribution.
The reference pass keeps, at every predicted position, its k most likely tokens and the mass of all
others (the tail); the quantized pass then sums the k terms and adds one for the tail,
p_tail (log p_tail - log q_tail). By the log-sum inequality that is a lower bound of the exact
divergence, not below zero, and equal to it where k is the whole vocabulary.

Logits exist for one batch of sequences at a time, in the model's precision, and are widened to
float32 a chunk of positions at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from faq_pipeline.evaluation.bootstrap import IntervalEstimate, bootstrap_estimate

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

TOP_K = 128
LONGEST = 2048
"""Tokens of a sequence that are looked at: a store of 1 KiB a position stays small."""
BATCH_TOKENS = 2048
"""Positions whose logits are held at once, padding included."""
CHUNK = 256
"""Positions whose logits are widened to float32 at once."""


@dataclass(frozen=True)
class Passage:
    """Token ids, of which those from `start` on (1 or later) are predicted."""

    ids: list[int]
    start: int


@dataclass(frozen=True)
class Divergence:
    """Summed KL (nats) over the predicted tokens of one sequence."""

    total: float
    tokens: int


def store_reference(
    model: PreTrainedModel,
    passages: Sequence[Passage],
    path: Path,
    *,
    k: int = TOP_K,
    advance: Callable[[int], None] = lambda done: None,
) -> None:
    """Write the passages and the model's distributions over them as one safetensors file.

    Tensors: ids, lengths, starts (int32); top_ids (positions, k) int32; top_logprobs (positions, k)
    and tail_logprobs (positions,) float32, minus infinity where there is no tail.
    """
    import torch
    from safetensors.torch import save_file

    kept = [Passage(p.ids[:LONGEST], p.start) for p in passages if p.start < min(len(p.ids), LONGEST)]
    width = min(k, int(model.config.get_text_config().vocab_size))
    top_ids = [torch.zeros(0, width, dtype=torch.int32)]
    top_logprobs, tails = [torch.zeros(0, width)], [torch.zeros(0)]
    for logits in predicted_logits(model, kept, advance):
        for chunk in logits.split(CHUNK):
            logprobs = torch.log_softmax(chunk.float(), dim=-1)
            top, ids = logprobs.topk(width, dim=-1)
            top_ids.append(ids.int().cpu())
            top_logprobs.append(top.cpu())
            tails.append(_tail(logprobs, ids).cpu())
    tensors = {
        "ids": torch.tensor([i for p in kept for i in p.ids], dtype=torch.int32),
        "lengths": torch.tensor([len(p.ids) for p in kept], dtype=torch.int32),
        "starts": torch.tensor([p.start for p in kept], dtype=torch.int32),
        "top_ids": torch.cat(top_ids),
        "top_logprobs": torch.cat(top_logprobs),
        "tail_logprobs": torch.cat(tails),
    }
    save_file(tensors, path)


def measure(
    model: PreTrainedModel, path: Path, *, advance: Callable[[int], None] = lambda done: None
) -> list[Divergence]:
    """The model's divergence from the reference stored in `path`, by sequence."""
    from safetensors.torch import load_file

    stored = load_file(path)
    passages, found, position = _passages(stored), [], 0
    for passage, logits in zip(passages, predicted_logits(model, passages, advance), strict=True):
        total = 0.0
        for chunk in logits.split(CHUNK):
            here = slice(position, position + len(chunk))
            reference = (
                stored[name][here].to(chunk.device) for name in ("top_ids", "top_logprobs", "tail_logprobs")
            )
            total += float(_divergence(chunk, *reference).sum())
            position += len(chunk)
        found.append(Divergence(total, len(passage.ids) - passage.start))
    return found


def mean_divergence(parts: Sequence[Divergence]) -> IntervalEstimate | None:
    """Mean KL per token; its 95% interval resamples whole sequences. None where there are none."""
    if not parts:
        return None
    sums = np.array([[part.total, part.tokens] for part in parts], dtype=np.float64)
    return bootstrap_estimate(sums, lambda means: means[:, 0] / means[:, 1])


def _divergence(
    logits: torch.Tensor, ids: torch.Tensor, top: torch.Tensor, tail: torch.Tensor
) -> torch.Tensor:
    """KL of each position, (positions,), in float64. Below zero it can only be rounding."""
    import torch

    logprobs = torch.log_softmax(logits.float(), dim=-1)
    ids = ids.long()
    others = _tail(logprobs, ids).double()
    top, tail = top.double(), tail.double()
    terms = (top.exp() * (top - logprobs.gather(-1, ids).double())).sum(-1)
    rest = torch.where(tail > -torch.inf, tail.exp() * (tail - others), torch.zeros_like(tail))
    return (terms + rest).clamp(min=0)


def _tail(logprobs: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Log of the mass outside `ids`: (positions,)."""
    import torch

    return logprobs.scatter(-1, ids.long(), -torch.inf).logsumexp(-1)


def predicted_logits(
    model: PreTrainedModel, passages: Sequence[Passage], advance: Callable[[int], None]
) -> Iterator[torch.Tensor]:
    """Logits at the predicted positions of each passage: (tokens, vocabulary), in the order given."""
    import torch

    for batch in _batches(passages):
        width = max(len(p.ids) for p in batch)
        ids = torch.zeros(len(batch), width, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for line, passage in enumerate(batch):
            # Padding comes after every token that counts: under causal attention it changes none.
            ids[line, : len(passage.ids)] = torch.tensor(passage.ids)
            mask[line, : len(passage.ids)] = 1
        with torch.inference_mode():
            logits = model(
                input_ids=ids.to(model.device), attention_mask=mask.to(model.device), use_cache=False
            ).logits
        for line, passage in enumerate(batch):
            yield logits[line, passage.start - 1 : len(passage.ids) - 1]
        advance(len(batch))


def _batches(passages: Sequence[Passage]) -> Iterator[list[Passage]]:
    """Neighbours together while they fit: the order, and so the batches, repeat in both passes."""
    batch: list[Passage] = []
    for passage in passages:
        width = max(len(p.ids) for p in [*batch, passage])
        if batch and (len(batch) + 1) * width > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(passage)
    if batch:
        yield batch


def _passages(stored: dict[str, torch.Tensor]) -> list[Passage]:
    ids = stored["ids"].split(stored["lengths"].tolist())
    starts = stored["starts"].tolist()
    return [Passage(these.tolist(), start) for these, start in zip(ids, starts, strict=True)]
