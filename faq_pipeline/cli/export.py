"""`faq export`: a checkpoint or a calibration set out of the artifact store, for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from faq_pipeline.cli.display import say, wrapped
from faq_pipeline.exports.source import Source, find_source
from faq_pipeline.quantization.schemes import SCHEMES
from faq_pipeline.quantization.serving_format import has_kernel, scheme_in_words, serve_command
from faq_pipeline.settings import Settings


def export(
    name: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="Fingerprint of a checkpoint or calibration set, or its first digits; 'member|recipe'; or a"
            " folder that faq quantize made.",
        ),
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New folder for the files.")],
    to: Annotated[
        Literal["checkpoint", "dense", "text", "messages", "parquet", "imatrix", "gguf"],
        typer.Option("--to", help="What to write: the checkpoint, or its calibration set for other tools."),
    ] = "checkpoint",
) -> None:
    """Write a checkpoint, or the calibration set behind it, to a folder for other tools.

    checkpoint: as transformers loads it, and vLLM at 4 or 8 bits. dense: the same numbers in bf16, for
    servers that have no kernel for them. text: the samples as the target meets
    them. messages: the same as chat messages. parquet: token ids. imatrix: what llama-quantize weighs
    weights by. gguf: the checkpoint for llama.cpp, its integers and scales unchanged.
    """
    source = find_source(Settings.from_environment(), name)
    if to == "checkpoint":
        _copy_checkpoint(source, folder)
        return
    if to == "dense":
        from faq_pipeline.quantization.export import export_dense

        export_dense(source.checkpoint, folder, "cpu")
        say(f"{folder}: the same model in bf16; serve it with  vllm serve {folder}")
        return
    from faq_pipeline.cli.progress import TerminalListener, bars
    from faq_pipeline.exports.forms import export_as

    with bars() as shown:
        lines = export_as(source, to, folder, TerminalListener(shown, to))
    say(f"{folder}:")
    for line in lines:
        wrapped(line)


def _copy_checkpoint(source: Source, folder: Path) -> None:
    from faq_pipeline.quantization.export import export as copy_checkpoint
    from faq_pipeline.quantization.export import spec_of

    copy_checkpoint(source.checkpoint, folder)
    spec = spec_of(source.checkpoint)
    if spec.scheme in SCHEMES and has_kernel(spec, "cuda"):  # the scheme's plugin may be uninstalled
        say(f"{folder}: serve it with  {serve_command(spec, folder)}")
    else:
        say(f"{folder}: load it with transformers; vLLM has no kernel for {scheme_in_words(spec)}")
