"""Rounds a model's weights to nearest in memory, exactly as method `rtn` does."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from faq_pipeline.config.quantization import Quantization
from faq_pipeline.models.architecture import QUANTIZABLE
from faq_pipeline.models.linear_parts import linear_parts
from faq_pipeline.quantization.layers import is_ignored
from faq_pipeline.quantization.schemes import config_groups

if TYPE_CHECKING:
    import torch
    from compressed_tensors.quantization import QuantizationArgs
    from transformers import PreTrainedModel


def rounded_copy(model: PreTrainedModel, spec: Quantization) -> PreTrainedModel:
    """A copy of the model whose linear layers hold what the spec's scheme makes of their weights.

    Everything else is shared with the model, routed experts too: they are fused in memory. The weights
    are those of a checkpoint of method `rtn` that is made in bf16, whatever the spec's own method;
    activations are not rounded.

    Raises:
        FaqError: unknown scheme.
    """
    import torch

    arguments = config_groups(spec)["group_0"].weights
    assert arguments is not None
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    made = copy.deepcopy(model, shared)
    for name, part in linear_parts(made).items():
        if part in QUANTIZABLE and not is_ignored(name, spec.ignore):
            module: Any = made.get_submodule(name)
            weight = round_to_nearest(module.weight.detach(), arguments)
            module.weight = torch.nn.Parameter(weight, requires_grad=False)
    return made


def round_to_nearest(weight: torch.Tensor, arguments: QuantizationArgs) -> torch.Tensor:
    """A weight, shape (rows, columns), on the grid of the scheme, in its own dtype.

    Rounded in bf16, as checkpoints hold weights and scales; a weight that was widened from it is
    widened again.
    """
    import torch
    from compressed_tensors.quantization import fake_quantize
    from compressed_tensors.quantization.utils import calculate_qparams

    stored = weight.to(torch.bfloat16)
    groups = stored.unflatten(-1, (-1, arguments.group_size or weight.shape[-1]))
    scale, zero_point = calculate_qparams(groups.amin(-1), groups.amax(-1), arguments)
    return fake_quantize(stored, scale, zero_point, arguments).to(weight.dtype)
