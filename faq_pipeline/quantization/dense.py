"""Writes a quantized checkpoint as a dense bf16 model, for engines without a kernel for its integers."""

from __future__ import annotations

import stat
from pathlib import Path

from faq_pipeline.config.family import Member
from faq_pipeline.models.loading import forget_generation_settings, release
from faq_pipeline.models.weights import copy_companions
from faq_pipeline.quantization.layers import shards
from faq_pipeline.quantization.load import load_quantized
from faq_pipeline.util.atomic_files import set_mode


def write_dense(checkpoint: Path, member: Member, folder: Path, device: str) -> Path:
    """Write a weight-only checkpoint as an unquantized model of the same logits.

    Args:
        folder: new or empty; takes as much disk as the unquantized member.
        device: where the weights are decompressed.

    Raises:
        FaqError: the checkpoint cannot be loaded.
    """
    import torch

    model = load_quantized(checkpoint, member, device, "bfloat16")
    with torch.device("meta"):
        architecture = type(model)(model.config)
    # The loaded model still holds scales and shapes of the packed form, which a dense model must not have.
    names = architecture.state_dict().keys()
    state = {name: tensor for name, tensor in model.state_dict().items() if name in names}
    forget_generation_settings(model)
    model.save_pretrained(folder, state_dict=state)
    for path in shards(folder):  # safetensors' own mode is 0600
        set_mode(path, stat.S_IMODE((folder / "config.json").stat().st_mode))
    del model, state
    release()
    copy_companions(checkpoint, folder)
    return folder
