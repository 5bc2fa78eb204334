"""`faq export`: a checkpoint folder out of the store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from faq_pipeline.cli.display import say
from faq_pipeline.errors import FaqError
from faq_pipeline.quantization.schemes import bits
from faq_pipeline.settings import Settings

SERVED = (4, 8)
"""Bits of the weights that vLLM has kernels for."""


def export(
    fingerprint: Annotated[str, typer.Argument(help="Of a quantized_checkpoint, or its first digits.")],
    folder: Annotated[Path, typer.Argument(help="New folder for the checkpoint.")],
) -> None:
    """Copy a checkpoint to a folder that transformers loads, and vLLM where it has 4 or 8 bits."""
    from faq_pipeline.quantization.export import export as copy_checkpoint

    found = [
        a
        for a in Settings.from_environment().store.find(fingerprint)
        if a.path.parent.name == "quantized_checkpoint"
    ]
    if len(found) != 1:
        what = "no checkpoint has" if not found else f"{len(found)} checkpoints have"
        raise FaqError(f"{what} a fingerprint that starts with {fingerprint!r}", mend="see: faq cache ls")
    copy_checkpoint(found[0], folder)
    scheme = str(found[0].manifest.identity["quantization"]["scheme"])
    if bits(scheme)[0] in SERVED:
        say(f"{folder}: serve it with  vllm serve {folder}")
    else:
        say(f"{folder}: transformers loads it; vLLM has no kernel for {scheme}")
