"""Hidden states that a model ends with, as means over samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from faq_pipeline.models.batches import by_length, padded

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@torch.inference_mode()
def mean_hidden_states(
    model: PreTrainedModel, samples: Sequence[Sequence[int]], advance: Callable[[int], None]
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """The mean of the last hidden state over each sample's tokens, a batch at a time.

    Args:
        samples: token ids, none empty.

    Yields:
        Which samples, as indices, and their means: float32 on the CPU, shape (samples, hidden size).
    """
    for batch in by_length([len(ids) for ids in samples]):
        ids = padded([samples[i] for i in batch], model.device)
        tokens = torch.tensor([len(samples[i]) for i in batch], device=model.device)
        # Padding is on the right: in a causal model no token of a sample sees it.
        own = torch.arange(ids.shape[1], device=model.device) < tokens.unsqueeze(1)
        states = model.base_model(input_ids=ids, use_cache=False).last_hidden_state.float()
        sums = states.masked_fill(~own.unsqueeze(-1), 0).sum(1)
        yield batch, (sums / tokens.unsqueeze(1)).cpu()
        advance(len(batch))
