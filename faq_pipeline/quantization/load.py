"""Loads a quantized checkpoint so that it runs at the speed of the dense model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from faq_pipeline.config.family import Member
from faq_pipeline.models.cpu_threads import fix_threads
from faq_pipeline.models.device import torch_device
from faq_pipeline.models.loading import in_precision, load_folder
from faq_pipeline.models.precision import Precision, precision_for
from faq_pipeline.quantization.quiet import quiet_llmcompressor

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def load_quantized(
    folder: Path, member: Member, device: str, precision: Precision | None = None
) -> PreTrainedModel:
    """A member's checkpoint, its integers decompressed to bf16, in evaluation mode on the device.

    The checkpoint's adapter, where it has one, is added to the weights.

    Fixes the process's CPU threads, as loading the member does.

    Logits are those of the quantized model. Where the scheme quantizes activations (W8A8, W4A4),
    they are rounded in every forward pass, as an integer kernel would.

    Args:
        precision: what it computes in, that of `precision_for` where absent. Decompressed weights are
            the same in either.

    Raises:
        FaqError: the folder cannot be loaded.
    """
    from faq_pipeline.quantization.compensation.adapter import add_adapter, read_adapter

    model = load_stored(folder, member, device, dequantize=True)
    model = in_precision(model, precision or precision_for(member, device))
    add_adapter(model, read_adapter(folder))
    return model


def load_stored(folder: Path, member: Member, device: str, *, dequantize: bool) -> PreTrainedModel:
    """A member's checkpoint without its adapter, in bf16; fixes the process's CPU threads.

    Args:
        dequantize: whether its integers are decompressed.

    Raises:
        FaqError: the folder cannot be loaded.
    """
    from transformers.utils.quantization_config import CompressedTensorsConfig

    fix_threads(member, device)
    # On a GPU integers are unpacked there: on CPU cores that takes minutes where a model is large.
    place: dict[str, Any] = {} if device == "cpu" else {"device_map": {"": torch_device(device)}}
    with quiet_llmcompressor():
        model = load_folder(
            folder,
            device,
            quantization_config=CompressedTensorsConfig(dequantize=dequantize),
            trust_remote_code=member.trust_remote_code,
            **place,
        )
    return _plain(model)


def _plain(model: PreTrainedModel) -> PreTrainedModel:
    """Remove compressed-tensors' wrappers around layers that need no rounding.

    The wrappers could move weights and round them, but here the weights are rounded and in place. Their
    Python code costs much of the time for small layers and for single tokens.
    """
    from compressed_tensors.offload import remove_dispatch

    remove_dispatch(model, onload_tensors=True)
    for module in model.modules():
        scheme = getattr(module, "quantization_scheme", None)
        if scheme is not None and scheme.input_activations is None and scheme.output_activations is None:
            vars(module).pop("forward", None)
    return model
