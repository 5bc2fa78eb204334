"""`faq backfill`: run many cells as one Dagster backfill, visible in the Dagster UI."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from faq_pipeline.cli.backfill_cells import choose
from faq_pipeline.cli.display import err, print_json, say
from faq_pipeline.cli.dry_run import planned_rows, show_cells
from faq_pipeline.cli.options import JsonOption
from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.settings import Settings


def backfill(
    members: Annotated[
        str, typer.Option("--members", help="Comma-separated names or name@rev8, or: all.")
    ] = "",
    recipes: Annotated[str, typer.Option("--recipes", help="Comma-separated names, or: all.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Show progress until the backfill ends.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan without launching it.")] = False,
    follow: Annotated[str, typer.Option("--follow", metavar="ID", help="Follow an earlier backfill.")] = "",
    cancel: Annotated[str, typer.Option("--cancel", metavar="ID", help="Cancel an earlier backfill.")] = "",
    json: JsonOption = False,
) -> None:
    """Launch a Dagster backfill of members x recipes. The Dagster daemon (make ui) executes it.

    With --wait, the exit code is 0 if every cell succeeded and 1 otherwise.
    """
    if sum(map(bool, (members or recipes, follow, cancel))) != 1:
        raise FaqError(
            "give exactly one of: members and recipes, --follow, --cancel",
            hint="--members a,b --recipes c,d, or --follow ID, or --cancel ID",
        )
    settings = Settings.from_environment()
    if cancel:
        _cancel(settings, cancel, json)
    elif follow:
        _follow(settings, follow, json)
    else:
        _launch(settings, members, recipes, wait=wait, dry_run=dry_run, json=json)


def _launch(settings: Settings, members: str, recipes: str, *, wait: bool, dry_run: bool, json: bool) -> None:
    chosen = choose(settings, members, recipes)
    rows = planned_rows(settings, chosen.cells)
    if not json:
        show_cells(rows, chosen.cells[0].device)
    for name, why in chosen.left_out:
        err().print(f"skipped {name}: {why}", style="yellow", markup=False, soft_wrap=True)
    if dry_run:
        if json:
            print_json({"plan": rows, "left_out": dict(chosen.left_out)})
        return
    backfill_id = _queue(settings, chosen.cells)
    if not json:
        say(f"backfill {backfill_id}: {len(chosen.cells)} cells queued; you may close this terminal")
    if wait:
        _follow(settings, backfill_id, json)
    elif json:
        print_json({"backfill": backfill_id, "partitions": [cell.partition for cell in chosen.cells]})


def _queue(settings: Settings, cells: list[Cell]) -> str:
    from faq_pipeline.cli.follow import silence_in_words
    from faq_pipeline.orchestration.backfill_state import daemon_silence
    from faq_pipeline.orchestration.backfills import launch
    from faq_pipeline.orchestration.runs import open_instance

    backfill_id = launch(settings, cells)
    with open_instance(settings) as instance:
        silence = daemon_silence(instance)
    if silence is not None:
        err().print(silence_in_words(silence), style="yellow", markup=False, soft_wrap=True)
    return backfill_id


def _follow(settings: Settings, backfill_id: str, json: bool) -> None:
    from faq_pipeline.cli.follow import as_json, follow, show_end
    from faq_pipeline.orchestration.backfills import BackfillWatch
    from faq_pipeline.orchestration.runs import open_instance

    try:
        with open_instance(settings) as instance:
            state = follow(BackfillWatch(instance, backfill_id))
    except KeyboardInterrupt:
        err().print(
            f"the backfill continues; to follow it: faq backfill --follow {backfill_id}; "
            f"to cancel it: faq backfill --cancel {backfill_id}",
            markup=False,
            soft_wrap=True,
        )
        raise typer.Exit(130) from None
    if json:
        print_json(as_json(state))
    else:
        show_end(state)
    if not state.complete:
        raise typer.Exit(1)


def _cancel(settings: Settings, backfill_id: str, json: bool) -> None:
    from faq_pipeline.orchestration.backfills import cancel

    cancel(settings, backfill_id)
    result: dict[str, Any] = {"backfill": backfill_id, "status": "canceling"}
    if json:
        print_json(result)
    else:
        say(f"cancelling backfill {backfill_id}; the daemon stops its runs")
