"""`faq report`: the report of a finished cell as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from faq_pipeline.cli.display import say, wrapped
from faq_pipeline.execution.cell_resolver import CellResolver
from faq_pipeline.settings import Settings
from faq_pipeline.util.memoize import memoizing


def report(
    member: Annotated[str, typer.Argument(help="Target model: name of a member, or name@rev8.")],
    recipe: Annotated[str, typer.Argument(help="Name of the recipe.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="HTML file to write; in the home's reports/ by default.")
    ] = None,
) -> None:
    """Write the report of a finished cell: one HTML page that needs no network."""
    from faq_pipeline.reporting.page import write_page

    resolver = CellResolver(Settings.from_environment())
    with memoizing():
        path, sentences = write_page(resolver, resolver.cell(member, recipe), out)
    for sentence in sentences:
        wrapped(sentence)
    say(f"report: {path}")
