"""KL divergence of a quantized model from its reference, per token, in nats.

KL(p || q) is the sum over the vocabulary of p (log p - log q), where p is the reference's next-token
distribution. At every predicted position, the reference pass stores the k most likely tokens and the
total probability of all others (the tail). The quantized pass sums the k terms and adds one term for the
tail, p_tail (log p_tail - log q_tail). By the log-sum inequality this is a non-negative lower bound of
the exact divergence, and equal to it if k is the size of the vocabulary.

Logits are held for one batch of sequences at a time in the model's precision, and converted to float32
in chunks of positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from faq_pipeline.errors import library_errors
from faq_pipeline.evaluation.bootstrap import IntervalEstimate, bootstrap_estimate

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

TOP_K = 128
LONGEST = 2048
"""Maximum number of tokens of a sequence that are used; limits the stored file (1 KiB per position)."""
BATCH_TOKENS = 2048
"""Maximum number of positions whose logits are held at once, padding included."""
CHUNK = 256
"""Number of positions whose logits are converted to float32 at once."""


@dataclass(frozen=True)
class Passage:
    """Token ids. The tokens from `start` on (1 or later) are predicted."""

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
    """Write the passages and the model's next-token distributions to one safetensors file.

    Tensors: ids, lengths, starts (int32); top_ids (positions, k) int32; top_logprobs (positions, k)
    and tail_logprobs (positions,) float32, minus infinity if there is no tail.

    Args:
        k: number of most likely tokens to store per position.
        advance: called with the number of passages done.
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
    """The model's divergence from the reference stored in `path`, for each sequence."""
    from safetensors.torch import load_file

    with library_errors("the reference cannot be read", file=path, hint="see faq cache verify"):
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
    """Mean KL per token with its 95% interval over resampled sequences; None without sequences."""
    if not parts:
        return None
    sums = np.array([[part.total, part.tokens] for part in parts], dtype=np.float64)
    return bootstrap_estimate(sums, lambda means: means[:, 0] / means[:, 1])


def _divergence(
    logits: torch.Tensor, ids: torch.Tensor, top: torch.Tensor, tail: torch.Tensor
) -> torch.Tensor:
    """KL at each position, (positions,), in float64. Negative values are rounding errors, set to 0."""
    import torch

    logprobs = torch.log_softmax(logits.float(), dim=-1)
    ids = ids.long()
    others = _tail(logprobs, ids).double()
    top, tail = top.double(), tail.double()
    terms = (top.exp() * (top - logprobs.gather(-1, ids).double())).sum(-1)
    rest = torch.where(tail > -torch.inf, tail.exp() * (tail - others), torch.zeros_like(tail))
    return (terms + rest).clamp(min=0)


def _tail(logprobs: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Log of the total probability outside `ids`: (positions,)."""
    import torch

    return logprobs.scatter(-1, ids.long(), -torch.inf).logsumexp(-1)


def predicted_logits(
    model: PreTrainedModel, passages: Sequence[Passage], advance: Callable[[int], None]
) -> Iterator[torch.Tensor]:
    """The logits at the predicted positions of each passage, (tokens, vocabulary), in the given order."""
    import torch

    for batch in _batches(passages):
        width = max(len(p.ids) for p in batch)
        ids = torch.zeros(len(batch), width, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for line, passage in enumerate(batch):
            # Right padding does not change earlier positions under causal attention.
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
    """Batch neighbouring passages. The order is kept, so both passes use the same batches."""
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
