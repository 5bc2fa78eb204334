"""What each linear layer of a model in memory belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faq_pipeline.models.architecture import Part
from faq_pipeline.models.fused_experts import fused_experts

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def linear_parts(model: PreTrainedModel) -> dict[str, Part]:
    """The part of each linear layer in a model's memory, by module name; experts are fused there."""
    import torch

    decoder, head = model.get_decoder(), model.get_output_embeddings()
    inside = next(name for name, module in model.named_modules() if module is decoder)
    wrapped = model.config.get_text_config(decoder=True) is not model.config
    blocks = {one.name.rpartition(".")[0]: one.count for one in fused_experts(model)}

    def part(name: str, module: torch.nn.Linear) -> Part:
        if module is head:
            return "head"
        if wrapped and not name.startswith(f"{inside}."):
            return "tower"
        experts = blocks.get(name.rpartition(".")[0])
        return "router" if experts and module.out_features in (1, experts) else "decoder"

    return {
        name: part(name, module)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
