"""Attention scores under rotary positions, in both ways to pair the channels of a head."""

from __future__ import annotations

import torch


def scores(q: torch.Tensor, k: torch.Tensor, size: int, *, halves: bool) -> torch.Tensor:
    """Scores of every query head with the keys of its group, shape (heads, tokens, tokens).

    Args:
        q, k: shape (tokens, heads * size).
        halves: channel i is paired with i + size / 2, as in transformers; else with its neighbour.
    """
    q, k = _rotated(q, size, halves), _rotated(k, size, halves)
    k = k.repeat_interleave(q.shape[0] // k.shape[0], dim=0)
    return q @ k.transpose(1, 2)


def _rotated(x: torch.Tensor, size: int, halves: bool) -> torch.Tensor:
    heads = x.reshape(x.shape[0], -1, size).swapaxes(0, 1)
    angles = torch.arange(x.shape[0])[:, None] * 10000.0 ** (-torch.arange(0, size, 2) / size)
    cos, sin = angles.cos(), angles.sin()
    a, b = heads.chunk(2, dim=-1) if halves else (heads[..., 0::2], heads[..., 1::2])
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)
