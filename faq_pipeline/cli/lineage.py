"""`faq lineage`: where every sample came from."""

from __future__ import annotations

from typing import Annotated

import typer

from faq_pipeline.cli.display import out, print_json, say
from faq_pipeline.cli.options import JsonOption
from faq_pipeline.settings import Settings

app = typer.Typer(help="Ask where samples and checkpoints came from.", no_args_is_help=True)


@app.command("trace")
def trace(
    id: Annotated[str, typer.Argument(help="A fingerprint, seed id, candidate id or sample id.")],
    json: JsonOption = False,
) -> None:
    """From a checkpoint back to its seeds, or from a seed to all that was made of it."""
    from faq_pipeline.lineage.trace_queries import trace as ask
    from faq_pipeline.lineage.trace_text import render

    settings = Settings.from_environment()
    found = ask(settings.lineage, id)
    if json:
        print_json(found.as_dict())
    else:
        out().print(render(found))


@app.command("rebuild")
def rebuild() -> None:
    """Make the DuckDB index anew from the artifacts."""
    from faq_pipeline.lineage.index import rebuild as make

    settings = Settings.from_environment()
    result = make(settings.store, settings.lineage)
    say(f"{settings.lineage}: {result.merged} artifacts")
