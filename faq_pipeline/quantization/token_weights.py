"""Weights of calibration tokens in GPTQ's Hessian, H = 2 sum_t w_t x_t x_t^T.

GPTQ itself has w = 1. A scale common to all tokens changes nothing: dampening follows it.

- `sample_weights: equal_sequences`: every sample counts alike however long it is, w = 1 / its tokens.
  After MaCa (arXiv 2602.07465), of which we know the abstract ("regularizes each sequence as an
  independent sample"). A sequence is a sample here, though a row packs several.
- `token_weights: attention`: within a sample, w rises linearly with the attention that a token
  receives in that layer, from 1 for the least to `MOST` for the most. After RSQ's attention
  concentration (arXiv 2503.01820), with the range of its authors' published code and without its
  rotation. Ours: the range is a sample's and not a row's, and attention is the unquantized target's.

Both together multiply; token weights have mean 1 over a sample and so move none between samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from faq_pipeline.config.quantization import Quantization
from faq_pipeline.models.device_memory import roomy_device
from faq_pipeline.models.weights import Weights
from faq_pipeline.util.progress import Progress

if TYPE_CHECKING:
    import torch

MOST = 3.0


def is_weighted(spec: Quantization) -> bool:
    """Whether tokens count differently under this recipe."""
    return spec.sample_weights is not None or spec.token_weights is not None


def row_weights(
    spec: Quantization,
    target: Weights,
    rows: Sequence[Sequence[int]],
    samples: Sequence[Sequence[int]],
    device: str,
    progress: Progress,
) -> list[torch.Tensor]:
    """Weights of each row's tokens, shape (layers, tokens), or (1, tokens) where layers do not differ.

    Args:
        samples: lengths of the samples of each row, in order.
    """
    import torch

    weights = [torch.ones(1, len(row)) for row in rows]
    if spec.token_weights == "attention":
        weights = [
            by_sample(received, lengths, by_importance)
            for received, lengths in zip(_attention(target, rows, device, progress), samples, strict=True)
        ]
    if spec.sample_weights == "equal_sequences":
        mean = sum(map(sum, samples)) / sum(map(len, samples))
        weights = [
            by_sample(own, lengths, lambda part: part * mean / part.shape[-1])
            for own, lengths in zip(weights, samples, strict=True)
        ]
    return weights


def by_sample(
    weights: torch.Tensor, lengths: Sequence[int], change: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """A row's weights with those of each sample changed; shape (layers, tokens) throughout."""
    import torch

    return torch.cat([change(part) for part in weights.split(list(lengths), dim=-1)], dim=-1)


def by_importance(received: torch.Tensor) -> torch.Tensor:
    """Weights of one sample's tokens by the attention that they receive, shape (layers, tokens).

    From 1 to `MOST` before they are brought to mean 1; all 1 where every token receives the same.
    """
    least, most = received.amin(-1, keepdim=True), received.amax(-1, keepdim=True)
    share = (received - least) / (most - least).where(most > least, 1)
    weights = 1 + (MOST - 1) * share
    return weights / weights.mean(-1, keepdim=True)


def _attention(
    target: Weights, rows: Sequence[Sequence[int]], device: str, progress: Progress
) -> Iterable[torch.Tensor]:
    from faq_pipeline.activations.attention import received_attention
    from faq_pipeline.models.loading import load_model, release

    progress.start("rows through the target, for attention", len(rows))
    model = load_model(target, roomy_device(target.member, device))
    yield from received_attention(model, rows, progress.advance)
    del model
    release()
