"""A quantized checkpoint back into memory, at the speed of the dense model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from faq_pipeline.config.family import Member
from faq_pipeline.models.device import fix_threads
from faq_pipeline.models.loading import load_folder
from faq_pipeline.quantization.quiet import quiet

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def load_quantized(folder: Path, member: Member, device: str) -> PreTrainedModel:
    """A member's checkpoint, its integers decompressed to bf16, in evaluation mode on the device.

    Fixes the process's CPU threads, as loading the member does.

    Logits are those of the quantized model. Where the scheme quantizes activations (W8A8, W4A4),
    they are rounded in every forward pass, as an integer kernel would.

    Raises:
        FaqError: the folder cannot be loaded.
    """
    from transformers.utils.quantization_config import CompressedTensorsConfig

    fix_threads(member, device)
    with quiet():
        return load_folder(
            folder,
            device,
            quantization_config=CompressedTensorsConfig(dequantize=True),
            trust_remote_code=member.trust_remote_code,
        )
