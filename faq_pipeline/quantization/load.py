"""A quantized checkpoint back into memory, at the speed of the dense model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from faq_pipeline.models.loading import load_folder
from faq_pipeline.quantization.quiet import quiet

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def load_quantized(folder: Path, device: str, *, trust_remote_code: bool = False) -> PreTrainedModel:
    """The checkpoint with its integers decompressed to bf16, in evaluation mode on the device.

    Logits are those of the quantized model. Where the scheme quantizes activations (W8A8, W4A4),
    they are rounded in every forward pass, as an integer kernel would.

    Raises:
        FaqError: the folder cannot be loaded.
    """
    from transformers.utils.quantization_config import CompressedTensorsConfig

    with quiet():
        return load_folder(
            folder,
            device,
            quantization_config=CompressedTensorsConfig(dequantize=True),
            trust_remote_code=trust_remote_code,
        )
