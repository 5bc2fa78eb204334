"""Attention that each token of a text receives, by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from faq_pipeline.activations.layer_names import layer_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@torch.inference_mode()
def received_attention(
    model: PreTrainedModel, rows: Sequence[Sequence[int]], advance: Callable[[int], None]
) -> Iterator[torch.Tensor]:
    """What each token of a row receives, summed over queries and heads: float32, (layers, tokens).

    Layers without an attention map (linear attention, say) give zeros. Rows go through the model one
    at a time and maps are summed layer by layer, so that one layer's map is held at once. The model
    is left with eager attention, the only one that shows its maps.
    """
    model.set_attn_implementation("eager")
    layers = int(model.config.get_text_config().num_hidden_layers)
    for row in rows:
        received = torch.zeros(layers, len(row))
        with _summed_into(model, received):
            model.base_model(input_ids=torch.tensor([row], device=model.device), use_cache=False)
        yield received
        advance(1)


@contextmanager
def _summed_into(model: PreTrainedModel, received: torch.Tensor) -> Iterator[None]:
    """While this is entered, attention layers add what their maps give to each token."""

    def hook(layer: int) -> Callable[[torch.nn.Module, Any, Any], None]:
        def add(module: torch.nn.Module, args: Any, output: Any) -> None:
            maps = output[1] if isinstance(output, tuple) and len(output) > 1 else None
            if isinstance(maps, torch.Tensor) and maps.ndim == 4:  # (row, heads, queries, tokens)
                received[layer] += maps.float().sum(dim=(0, 1, 2)).cpu()

        return add

    handles = [
        module.register_forward_hook(hook(layer_of(name)))
        for name, module in model.named_modules()
        if type(module).__name__.endswith("Attention")
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
