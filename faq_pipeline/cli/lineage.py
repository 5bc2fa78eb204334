"""`faq lineage`: trace samples and checkpoints to their sources."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from faq_pipeline.cli.display import out, print_json, say
from faq_pipeline.cli.options import JsonOption
from faq_pipeline.settings import Settings

app = typer.Typer(help="Trace samples and checkpoints to their sources.", no_args_is_help=True)


@app.command("trace")
def trace(
    id: Annotated[
        str,
        typer.Argument(
            help="A fingerprint, seed id, candidate id or sample id, or a folder that faq quantize made."
        ),
    ],
    everything: Annotated[bool, typer.Option("--all", help="Print all of a long trace.")] = False,
    json: JsonOption = False,
) -> None:
    """Trace a checkpoint back to its seeds, or a seed to everything made from it.

    Checkpoints, their evaluations and licences come first. Without --all it prints about 60 lines.
    """
    from faq_pipeline.exports.marked_folder import read_mark
    from faq_pipeline.lineage.trace_queries import trace as trace_id
    from faq_pipeline.lineage.trace_text import LINES, render

    settings = Settings.from_environment()
    found = trace_id(settings.lineage, (id and read_mark(Path(id))) or id)
    if json:
        print_json(found.as_dict())
    else:
        out().print(render(found, None if everything else LINES))


@app.command("rebuild")
def rebuild() -> None:
    """Rebuild the DuckDB index from the artifacts."""
    from faq_pipeline.lineage.index import rebuild as rebuild_index

    settings = Settings.from_environment()
    result = rebuild_index(settings.store, settings.lineage)
    for line in result.problems:
        say(line)
    say(f"{settings.lineage}: {result.merged} artifacts")
