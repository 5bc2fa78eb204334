"""A model that is quantized in float32 and stored in bf16, where the processor emulates bf16."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from compressed_tensors.quantization import QuantizationArgs
    from transformers import PreTrainedModel

GLOBAL_SCALE = "_global_scale"
Stored = Mapping[str, "torch.dtype"]
"""What each of a model's parameters is stored in, by name."""


def widen(model: PreTrainedModel, modifiers: Sequence[Any]) -> Stored:
    """Let llmcompressor compute in float32, with scales of weights that bf16 can hold.

    Integers are then chosen for the very scales that are stored, as they are in bf16.

    Args:
        modifiers: those of the run to come.

    Returns:
        What `narrow` needs when the run is over.
    """
    import torch

    stored = {name: parameter.dtype for name, parameter in model.named_parameters()}
    model.float()
    for arguments in _weight_arguments(modifiers):
        if arguments.scale_dtype is None:
            arguments.scale_dtype = torch.bfloat16
    return stored


def narrow(model: PreTrainedModel, modifiers: Sequence[Any], stored: Stored) -> None:
    """Store the model as if it had been quantized in bf16: parameters, and the configuration of scales.

    Parameters that the run added, as scales are, become bf16 too, but for the scales of a whole tensor
    that formats such as NVFP4 have in float32. Integers that are packed from the
    narrowed weights are still those that the run chose: rounding to bf16 moves a weight by 1/512 of
    itself at most, which is a quarter of a step at 8 bits.
    """
    import torch

    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and not name.endswith(GLOBAL_SCALE):
            parameter.data = parameter.data.to(stored.get(name, torch.bfloat16))
    schemes = (getattr(module, "quantization_scheme", None) for module in model.modules())
    own = (scheme.weights for scheme in schemes if scheme is not None and scheme.weights is not None)
    for arguments in chain(own, _weight_arguments(modifiers)):
        if arguments.scale_dtype is torch.bfloat16:
            arguments.scale_dtype = None


def _weight_arguments(modifiers: Sequence[Any]) -> Iterator[QuantizationArgs]:
    """How each modifier's groups round weights."""
    for modifier in modifiers:
        for group in (getattr(modifier, "config_groups", None) or {}).values():
            if group.weights is not None:
                yield group.weights
