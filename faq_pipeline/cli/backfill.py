"""`faq backfill`: many cells at once, as a Dagster backfill that the UI shows."""

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
        str, typer.Option("--members", help="Names, or name@rev8, separated by commas; or all.")
    ] = "",
    recipes: Annotated[str, typer.Option("--recipes", help="Names, separated by commas; or all.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Follow it to its end.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the plan.")] = False,
    follow: Annotated[str, typer.Option("--follow", metavar="ID", help="Follow one launched before.")] = "",
    cancel: Annotated[str, typer.Option("--cancel", metavar="ID", help="End one launched before.")] = "",
    json: JsonOption = False,
) -> None:
    """Launch a Dagster backfill of members x recipes; the daemon (make ui) executes it.

    With --wait, exit 0 says that every cell succeeded and 1 that some did not.
    """
    if sum(map(bool, (members or recipes, follow, cancel))) != 1:
        raise FaqError("name what to do", hint="--members a,b --recipes c,d, or --follow ID, or --cancel ID")
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
        show_cells(rows)
    for name, why in chosen.left_out:
        err().print(f"left out {name}: {why}", style="yellow", markup=False, soft_wrap=True)
    if dry_run:
        if json:
            print_json({"plan": rows, "left_out": dict(chosen.left_out)})
        return
    backfill_id = _queue(settings, chosen.cells)
    if not json:
        say(
            f"backfill {backfill_id} of {len(chosen.cells)} cells is queued; it goes on without this terminal"
        )
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
            f"the backfill goes on; follow it: faq backfill --follow {backfill_id}; "
            f"end it: faq backfill --cancel {backfill_id}",
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
    told: dict[str, Any] = {"backfill": backfill_id, "status": "canceling"}
    if json:
        print_json(told)
    else:
        say(f"backfill {backfill_id} is being cancelled; the daemon stops its runs")
