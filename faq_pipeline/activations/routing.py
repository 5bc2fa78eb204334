"""How many tokens a mixture's routers send to each expert."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING, Any

import torch

from faq_pipeline.activations.layer_names import layer_of
from faq_pipeline.models.fused_experts import fused_experts
from faq_pipeline.store.records import RoutedTokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Counts = dict[str, torch.Tensor]
"""Tokens by expert, int64 on the CPU, shape (experts,), by the name of the module that holds them."""


@contextmanager
def routed_tokens(model: PreTrainedModel) -> Iterator[Counts]:
    """Count tokens while the context is open. A token counts once for each expert that it is sent to."""
    counts: Counts = {}

    def hook(name: str, experts: int) -> Callable[..., None]:
        def count(module: torch.nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
            chosen = next(one for one in (*args, *kwargs.values()) if not one.is_floating_point())
            counts[name] += torch.bincount(chosen.reshape(-1), minlength=experts).cpu()

        return count

    handles = []
    for one in fused_experts(model):
        counts[one.name] = torch.zeros(one.count, dtype=torch.int64)
        module = model.get_submodule(one.name)
        handles.append(module.register_forward_pre_hook(hook(one.name, one.count), with_kwargs=True))
    try:
        yield counts
    finally:
        for handle in handles:
            handle.remove()


@torch.inference_mode()
def sample_routing(
    model: PreTrainedModel, samples: Sequence[Sequence[int]], advance: Callable[[int], None]
) -> Iterator[torch.Tensor]:
    """Tokens that each expert gets of each sample: int64 on the CPU, shape (experts of all blocks,).

    Samples of token ids go through the model one at a time. Without routed experts the shape is (0,).
    """
    with routed_tokens(model) as counts:
        for ids in samples:
            for own in counts.values():
                own.zero_()
            model.base_model(input_ids=torch.tensor([list(ids)], device=model.device), use_cache=False)
            yield torch.cat([torch.zeros(0, dtype=torch.int64), *counts.values()])
            advance(1)


def routing_rows(counts: Counts) -> list[RoutedTokens]:
    """One row an expert, in the model's order."""
    return [
        RoutedTokens(name, layer_of(name), expert, tokens)
        for name, own in counts.items()
        for expert, tokens in enumerate(own.tolist())
    ]


def routing_figures(rows: Sequence[RoutedTokens]) -> dict[str, Any]:
    """How many experts there are, how many of them got no token, and the least and median tokens of one."""
    tokens = [row.tokens for row in rows]
    return {
        "experts": len(tokens),
        "idle": tokens.count(0),
        "least": min(tokens),
        "median": median(tokens),
    }
