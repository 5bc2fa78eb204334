"""`faq status`: the state of all members x recipes, and what the schedules would request next."""

from __future__ import annotations

from itertools import groupby
from typing import Annotated, Any

import typer

from faq_pipeline.cli.display import out, print_json, table, wrapped
from faq_pipeline.cli.options import JsonOption
from faq_pipeline.cli.tick_plan import show_plans
from faq_pipeline.config.family import Family
from faq_pipeline.errors import FaqError
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.planning.cell_status import CellStatus, cell_statuses
from faq_pipeline.planning.staleness import State
from faq_pipeline.settings import REPOSITORY, Settings

SHIPPED = REPOSITORY / "data"

FamilyOption = Annotated[str | None, typer.Option("--family", help="Only members of this family.")]
MemberOption = Annotated[str | None, typer.Option("--member", "-m", help="Only cells of this member.")]
PlanOption = Annotated[
    bool, typer.Option("--plan", help="Show what each family's schedule would request at its next tick.")
]


def status(
    family: FamilyOption = None,
    member: MemberOption = None,
    plan: PlanOption = False,
    json: JsonOption = False,
) -> None:
    """Show whether each member x recipe is complete, stale, partial, missing or impossible, and why.

    Your own members come first. "not evaluated": the checkpoint alone is made.
    A recipe that is not for the member's family is not listed. Members of which nothing is made are
    named in one line, but for --member and --json.
    """
    settings = Settings.from_environment()
    families = _families(settings, family)
    if plan:
        if member is not None:
            raise FaqError(
                "--plan works for a whole family, not a member", hint="use --family instead of --member"
            )
        show_plans(settings, [known for known in families if known.requantize is not None], json=json)
        return
    members = [member] if member else [m.name for known in families for m in known.members]
    _show_cells(settings, cell_statuses(settings, members), whole=member is not None, json=json)


def _families(settings: Settings, name: str | None) -> list[Family]:
    catalog = settings.catalog
    wanted = [catalog.family(name)] if name is not None else list(catalog.families.values())
    # The user's own first, and then those that ship: the sort keeps their order.
    return sorted(wanted, key=lambda one: catalog.family_file(one.name).is_relative_to(SHIPPED))


def _show_cells(settings: Settings, statuses: list[CellStatus], *, whole: bool, json: bool) -> None:
    failed = _failed_runs(settings, statuses)
    rows = [_row(cell, failed.get(cell.partition)) for cell in statuses]
    if json:
        print_json({"cells": rows})
        return
    untouched = []
    for name, found in groupby(rows, key=lambda row: str(row["member"])):
        of_member = list(found)  # one table each: 80 columns are enough
        if whole or any(row["made"] or row["failed_run"] for row in of_member):
            _show_member(name, of_member)
        else:
            untouched.append(name)
    if untouched:
        wrapped(f"nothing is made of {', '.join(untouched)}")
        wrapped("their recipes: faq status --member NAME")
    elif not rows:
        wrapped("no recipe is for these members")


def _show_member(name: str, rows: list[dict[str, Any]]) -> None:
    columns = ["recipe", "state", "made", "why", "last run"]
    shown = [
        [
            row["recipe"],
            row["state"],
            "" if row["complete"] else f"{row['made']}/{row['stages']}",
            row["reason"] or "",
            f"{row['failed_run'][:8]} failed" if row["failed_run"] else "",
        ]
        for row in rows
    ]
    if not any(row["failed_run"] for row in rows):
        columns, shown = columns[:-1], [cells[:-1] for cells in shown]
    out().print(table(name, columns, shown))


def _row(cell: CellStatus, failed: str | None) -> dict[str, Any]:
    return {
        "member": cell.member,
        "recipe": cell.recipe,
        "state": str(cell.state),
        "reason": cell.reason or None,
        "out_of_date": cell.freshness.stage,
        "made": cell.seen.made,
        "stages": len(STAGES),
        "complete": cell.state is State.COMPLETE,
        "next": next((n for n, p in cell.seen.planned.items() if p.artifact is None), None),
        "problem": cell.seen.problem,
        "failed_run": failed,
    }


def _failed_runs(settings: Settings, statuses: list[CellStatus]) -> dict[str, str]:
    """The last run of each incomplete cell, by partition, if that run failed."""
    waiting = [
        status.partition
        for status in statuses
        if status.cell is not None and status.state is not State.COMPLETE
    ]
    if not waiting or not settings.has_dagster_home:
        return {}
    from faq_pipeline.orchestration.automation.requests import FAILED, PARTITION, records_of
    from faq_pipeline.orchestration.runs import open_instance

    last: dict[str, Any] = {}
    with open_instance(settings) as instance:
        for record in records_of(instance, waiting):
            last.setdefault(record.dagster_run.tags[PARTITION], record.dagster_run)
    return {partition: run.run_id for partition, run in last.items() if run.status in FAILED}
