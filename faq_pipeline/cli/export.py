"""`faq export`: copy a checkpoint out of the artifact store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from faq_pipeline.cli.display import say
from faq_pipeline.core import stage_names
from faq_pipeline.errors import FaqError
from faq_pipeline.quantization.serving_format import has_kernel
from faq_pipeline.settings import Settings


def export(
    fingerprint: Annotated[
        str, typer.Argument(help="Fingerprint of a quantized_checkpoint, or its first digits.")
    ],
    folder: Annotated[Path, typer.Argument(help="New folder for the checkpoint.")],
) -> None:
    """Copy a checkpoint to a folder that transformers can load, and vLLM too if it has 4 or 8 bits."""
    from faq_pipeline.quantization.export import export as copy_checkpoint

    found = [
        a
        for a in Settings.from_environment().store.find(fingerprint)
        if a.path.parent.name == stage_names.QUANTIZED_CHECKPOINT
    ]
    if len(found) != 1:
        what = "no checkpoint has" if not found else f"{len(found)} checkpoints have"
        raise FaqError(f"{what} a fingerprint that starts with {fingerprint!r}", hint="see: faq cache ls")
    copy_checkpoint(found[0], folder)
    scheme = str(found[0].manifest.identity["quantization"]["scheme"])
    if has_kernel(scheme, "cuda"):
        say(f"{folder}: serve it with  vllm serve {folder}")
    else:
        say(f"{folder}: load it with transformers; vLLM has no kernel for {scheme}")
