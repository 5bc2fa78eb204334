"""A checkpoint with its integers written out in bf16, for who has no kernel for them."""

from __future__ import annotations

from pathlib import Path

from faq_pipeline.config.family import Member
from faq_pipeline.models.loading import release
from faq_pipeline.models.weights import copy_companions
from faq_pipeline.quantization.load import load_quantized


def write_dense(checkpoint: Path, member: Member, folder: Path, device: str) -> Path:
    """Write a weight-only checkpoint as an unquantized model of the same logits.

    Args:
        folder: new or empty; takes as much disk as the unquantized member.
        device: where the weights are decompressed.

    Raises:
        FaqError: the checkpoint cannot be loaded.
    """
    import torch

    model = load_quantized(checkpoint, member, device)
    with torch.device("meta"):
        architecture = type(model)(model.config)
    # Scales and shapes of the packed form stay in the loaded model, and are no part of a dense one.
    names = architecture.state_dict().keys()
    state = {name: tensor for name, tensor in model.state_dict().items() if name in names}
    model.save_pretrained(folder, state_dict=state)
    del model, state
    release()
    copy_companions(checkpoint, folder)
    return folder
