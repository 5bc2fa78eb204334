"""`faq run --dry-run`: what is there, what would be made, and what that would cost."""

from __future__ import annotations

from typing import Any

from faq_pipeline.cell import Cell
from faq_pipeline.cli.display import out, print_json, seconds, table
from faq_pipeline.estimate import estimate
from faq_pipeline.runner import plan
from faq_pipeline.settings import Settings
from faq_pipeline.stages import STAGES


def show_plan(settings: Settings, cells: list[Cell], *, json: bool) -> None:
    """Print the plan of some cells."""
    rows = planned_rows(settings, cells)
    if json:
        print_json({"plan": rows})
        return
    shown = [
        [
            row["recipe"],
            row["asset"],
            (row["fingerprint"] or "")[:8],
            row["cache"],
            _number(row["memory_gib"], "{:.2f}"),
            _number(row["tokens"], "{:,}"),
            _number(row["disk_mib"], "{:.1f}"),
            "" if row["seconds"] is None else seconds(row["seconds"]),
        ]
        for row in rows
    ]
    columns = ["recipe", "asset", "key", "cache", "memory GiB", "tokens at most", "disk MiB", "time"]
    console = out()
    console.print(table(f"{cells[-1].target.partition}: what a run would do", columns, shown))
    known = [row["seconds"] for row in rows if row["seconds"] is not None]
    misses = [row for row in rows if row["cache"] == "miss"]
    unknown = len([row for row in misses if row["seconds"] is None])
    times = [f"about {seconds(sum(known))}"] if known or not unknown else []
    times += [f"{unknown} stages of unknown time (none like it has run here yet)"] if unknown else []
    console.print(f"{len(rows) - len(misses)} hits, {len(misses)} to make, {' and '.join(times)}")


def planned_rows(settings: Settings, cells: list[Cell]) -> list[dict[str, Any]]:
    """A row a stage; a stage that an earlier cell of the same run makes is counted once."""
    rows: list[dict[str, Any]] = []
    for cell in cells:
        for name, planned in plan(cell, STAGES, settings.store).items():
            hit = planned.artifact is not None
            cost = {} if hit else estimate(name, cell, settings.store).as_dict()
            rows.append(
                {
                    "member": cell.target.partition,
                    "recipe": cell.recipe.name,
                    "asset": name,
                    "fingerprint": planned.key.fingerprint if planned.key else None,
                    "cache": planned.cache,
                    **{key: cost.get(key) for key in ("memory_gib", "tokens", "disk_mib", "seconds")},
                }
            )
    known = {row["fingerprint"] for row in rows if row["fingerprint"]}
    for row in rows:  # the second cell that wants the same artifact finds it made
        if row["cache"] == "miss" and row["fingerprint"] in known:
            known.discard(row["fingerprint"])
        elif row["cache"] == "miss" and row["fingerprint"]:
            row.update(cache="hit", memory_gib=None, tokens=None, disk_mib=None, seconds=None)
    return rows


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
