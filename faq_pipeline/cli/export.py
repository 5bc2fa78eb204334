"""`faq export`: copy a checkpoint out of the artifact store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from faq_pipeline.cli.display import say
from faq_pipeline.config.recipe import Quantization
from faq_pipeline.quantization.schemes import SCHEMES
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
    from faq_pipeline.quantization.export import find_checkpoint

    found = find_checkpoint(Settings.from_environment().store, fingerprint)
    copy_checkpoint(found, folder)
    said: dict[str, Any] = found.manifest.identity["quantization"]
    spec = Quantization.model_validate({key: said[key] for key in said.keys() & Quantization.model_fields})
    if spec.scheme in SCHEMES and has_kernel(spec, "cuda"):  # the scheme's plugin may be uninstalled
        say(f"{folder}: serve it with  vllm serve {folder}")
    else:
        say(f"{folder}: load it with transformers; vLLM has no kernel for {spec.scheme}")
