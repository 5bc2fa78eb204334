"""Batches of token sequences for a forward pass.

Batches hold sequences of like length, padded on the right. Padding comes after every token that
counts, so under causal attention it changes none of them and needs no mask; whoever reads what the
model made of a batch leaves the padded positions out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

BATCH_TOKENS = 2048
"""Positions in one forward pass, padding included."""


def by_length(lengths: Sequence[int], most: int = BATCH_TOKENS) -> list[list[int]]:
    """Batches as lists of indices into `lengths`, shortest first, each of at most `most` positions.

    A sequence longer than that is alone.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        # Sorted by length, so the sequence that comes last decides how wide the batch is.
        if batches and (len(batches[-1]) + 1) * lengths[index] <= most:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def padded(sequences: Sequence[Sequence[int]], device: torch.device | str) -> torch.Tensor:
    """Token ids, shape (sequences, longest), padded on the right with token 0."""
    import torch

    ids = torch.zeros(len(sequences), max(len(ids) for ids in sequences), dtype=torch.long)
    for line, sequence in enumerate(sequences):
        ids[line, : len(sequence)] = torch.tensor(sequence)
    return ids.to(device)
