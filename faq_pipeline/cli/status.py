"""`faq status`: how the members x recipes stand, and what the schedules would ask for next."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from faq_pipeline.cli.display import out, print_json, table
from faq_pipeline.cli.options import JsonOption
from faq_pipeline.cli.tick_plan import show_plans
from faq_pipeline.config.family import Family
from faq_pipeline.errors import FaqError
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.planning.staleness import CellStatus, State, cell_statuses
from faq_pipeline.settings import Settings

FamilyOption = Annotated[str | None, typer.Option("--family", help="Only its members.")]
MemberOption = Annotated[str | None, typer.Option("--member", "-m", help="Only its cells.")]
PlanOption = Annotated[
    bool, typer.Option("--plan", help="What the families' schedules would ask for at their next tick.")
]


def status(
    family: FamilyOption = None,
    member: MemberOption = None,
    plan: PlanOption = False,
    json: JsonOption = False,
) -> None:
    """Show whether each member x recipe is complete, stale, partial, missing or impossible, and why.

    Cells of other families do not count.
    """
    settings = Settings.from_environment()
    families = _families(settings, family)
    if plan:
        if member is not None:
            raise FaqError("a tick is planned for a whole family", hint="--family instead of --member")
        show_plans(settings, [one for one in families if one.requantize is not None], json=json)
        return
    members = [member] if member else [m.name for one in families for m in one.members]
    _show_cells(settings, cell_statuses(settings, members), json=json)


def _families(settings: Settings, name: str | None) -> list[Family]:
    known = settings.catalog.families
    if name is not None and name not in known:
        raise FaqError(f"unknown family {name!r}", hint=f"known: {', '.join(sorted(known))}")
    return [family for family in known.values() if name in (None, family.name)]


def _show_cells(settings: Settings, judged: list[CellStatus], *, json: bool) -> None:
    failed = _failed_runs(settings, judged)
    rows = [_row(one, failed.get(one.partition)) for one in judged]
    if json:
        print_json({"cells": rows})
        return
    columns = ["member", "recipe", "state", "made", "why", "last run"]
    shown = [
        [
            row["member"],
            row["recipe"],
            row["state"],
            "" if row["complete"] else f"{row['made']}/{row['stages']}",
            row["reason"] or "",
            f"{row['failed_run'][:8]} failed" if row["failed_run"] else "",
        ]
        for row in rows
    ]
    out().print(table("Cells", columns, shown))


def _row(one: CellStatus, failed: str | None) -> dict[str, Any]:
    return {
        "member": one.member,
        "recipe": one.recipe,
        "state": str(one.state),
        "reason": one.reason or None,
        "out_of_date": one.freshness.stage,
        "made": one.seen.made,
        "stages": len(STAGES),
        "complete": one.state is State.COMPLETE,
        "next": next((n for n, p in one.seen.planned.items() if p.artifact is None), None),
        "problem": one.seen.problem,
        "failed_run": failed,
    }


def _failed_runs(settings: Settings, judged: list[CellStatus]) -> dict[str, str]:
    """Of the cells that are not complete, by partition the last run where it failed."""
    waiting = [one.partition for one in judged if one.cell is not None and one.state is not State.COMPLETE]
    if not waiting or not settings.has_dagster_home:
        return {}
    from faq_pipeline.orchestration.automation.requests import FAILED, PARTITION, records_of
    from faq_pipeline.orchestration.runs import open_instance

    last: dict[str, Any] = {}
    with open_instance(settings) as instance:
        for record in records_of(instance, waiting):
            last.setdefault(record.dagster_run.tags[PARTITION], record.dagster_run)
    return {partition: run.run_id for partition, run in last.items() if run.status in FAILED}
