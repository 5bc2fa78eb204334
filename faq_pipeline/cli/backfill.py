"""`faq backfill`: many cells at once, as a Dagster backfill that the UI shows."""

from __future__ import annotations

from typing import Annotated

import typer

from faq_pipeline.cli.display import print_json, say
from faq_pipeline.cli.dry_run import show_plan
from faq_pipeline.cli.options import JsonOption
from faq_pipeline.errors import FaqError
from faq_pipeline.matrix import cell_states
from faq_pipeline.settings import Settings


def backfill(
    members: Annotated[str, typer.Option("--members", help="Names, separated by commas.")],
    recipes: Annotated[str, typer.Option("--recipes", help="Names, separated by commas.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the plan.")] = False,
    json: JsonOption = False,
) -> None:
    """Launch a Dagster backfill of members x recipes; the daemon (make ui) executes it."""
    settings = Settings.from_environment()
    states = list(cell_states(settings, _names(members), _names(recipes)))
    cells = [state.cell for state in states if state.cell is not None]
    problems = [f"{s.member}|{s.recipe}: {s.problem}" for s in states if s.cell is None]
    if problems:
        raise FaqError(problems[0], mend="leave that cell out")
    if not cells:
        raise FaqError("no recipe of these is for a family of these members", mend="see: faq recipes")
    if dry_run or not json:
        show_plan(settings, cells, json=json)
    if dry_run:
        return
    from faq_pipeline.cli.dagster_backfill import launch

    backfill_id = launch(settings, [cell.partition for cell in cells])
    if json:
        print_json({"backfill": backfill_id, "partitions": [cell.partition for cell in cells]})
    else:
        say(f"backfill {backfill_id} of {len(cells)} cells is queued; the daemon (make ui) runs it")


def _names(text: str) -> list[str]:
    names = [part.strip() for part in text.split(",") if part.strip()]
    if not names:
        raise FaqError("an empty list of names", mend="--members a,b --recipes c,d")
    return names
