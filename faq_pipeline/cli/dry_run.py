"""Dry runs of a run or a backfill: what is cached, what would be made, and the estimated cost."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from faq_pipeline.cli.display import out, print_json, seconds, table
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.stage import Stage
from faq_pipeline.execution.cost import PastRuns
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.execution.runner import plan
from faq_pipeline.planning.cell_plan import declared_keys
from faq_pipeline.settings import Settings
from faq_pipeline.util.pages import size


def show_plan(settings: Settings, cells: list[Cell], *, json: bool, unwanted: Collection[str] = ()) -> None:
    """Print the plan of some cells, one row per stage.

    Args:
        unwanted: stages that will not be made.
    """
    rows = [row for row in planned_rows(settings, cells) if row["asset"] not in unwanted]
    if json:
        print_json({"plan": rows})
        return
    shown = [
        [
            row["recipe"],
            row["asset"],
            (row["fingerprint"] or "")[:8],
            row["cache"],
            _bytes(row["memory_gib"], 2**30),
            _number(row["tokens"], "{:,}"),
            _bytes(row["disk_mib"], 2**20),
            "" if row["seconds"] is None else seconds(row["seconds"]),
        ]
        for row in rows
    ]
    columns = ["recipe", "asset", "key", "cache", "memory", "tokens at most", "disk", "time"]
    console = out()
    console.print(table(f"{cells[-1].target.partition}: what a run would do", columns, shown))
    console.print(plan_summary(rows))


def show_cells(rows: list[dict[str, Any]]) -> None:
    """Print a plan of many cells, one row per cell. A shared stage counts only in its first cell."""
    cells: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        cells.setdefault((row["member"], row["recipe"]), []).append(row)
    shown = []
    for (member, recipe), stages in cells.items():
        made = [row for row in stages if row["cache"] == "hit" and not row["shared"]]
        missing = [row for row in stages if row["cache"] == "miss"]
        known = [row["seconds"] for row in missing if row["seconds"] is not None]
        shown.append(
            [
                member,
                recipe,
                f"{len(made)}/{len(stages)}",
                ", ".join(row["asset"] for row in missing),
                _bytes(max((row["memory_gib"] or 0 for row in missing), default=0) or None, 2**30),
                _number(sum(row["tokens"] or 0 for row in missing) or None, "{:,}"),
                seconds(sum(known)) + ("" if len(known) == len(missing) else " + ?") if known else "",
            ]
        )
    columns = ["member", "recipe", "cached", "to make", "memory", "tokens at most", "time"]
    console = out()
    console.print(table(f"{len(cells)} cells: what a backfill would do", columns, shown))
    console.print(plan_summary(rows))


def planned_rows(
    settings: Settings, cells: list[Cell], stages: Mapping[str, Stage] = STAGES
) -> list[dict[str, Any]]:
    """One row per stage. A stage that an earlier cell makes is a hit for later cells, with `shared` set."""
    rows: list[dict[str, Any]] = []
    wanted: set[str] = set()
    past = PastRuns(settings.store)
    for cell in cells:
        keys = declared_keys(cell, stages)
        for name, planned in plan(cell, stages, settings.store).items():
            # The fingerprint is known only once the inputs exist; the declared key is always known.
            key = planned.key.fingerprint if planned.key else keys[name]
            shared = planned.artifact is None and key in wanted
            wanted.add(key)
            hit = planned.artifact is not None or shared
            cost = {} if hit else past.estimate(planned.stage, cell).as_dict()
            rows.append(
                {
                    "member": cell.target.partition,
                    "recipe": cell.recipe.name,
                    "asset": name,
                    "fingerprint": planned.key.fingerprint if planned.key else None,
                    "cache": "hit" if hit else "miss",
                    "shared": shared,
                    **{key: cost.get(key) for key in ("memory_gib", "tokens", "disk_mib", "seconds")},
                }
            )
    return rows


def plan_summary(rows: list[dict[str, Any]]) -> str:
    """How much of a plan is there, and how long the rest takes, in a line."""
    misses = [row for row in rows if row["cache"] == "miss"]
    shared = sum(row["shared"] for row in rows)
    known = [row["seconds"] for row in misses if row["seconds"] is not None]
    times = [f"about {seconds(sum(known))}"] if known or not misses else []
    unknown = len(misses) - len(known)
    times += [f"{unknown} stages of unknown time (no comparable run here yet)"] if unknown else []
    hits = f"{len(rows) - len(misses)} hits" + (
        f" ({shared} made by another cell of this plan)" if shared else ""
    )
    return f"{hits}, {len(misses)} to make, {' and '.join(times)}"


def _bytes(count: float | None, unit: int) -> str:
    return "" if count is None else size(count * unit)


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
