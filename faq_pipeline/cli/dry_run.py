"""Dry runs of a run or a backfill: what is cached, what would be made, and the estimated cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from itertools import groupby
from typing import Any

from faq_pipeline.cli.display import out, print_json, say, table, wrapped
from faq_pipeline.core import stage_names
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.stage import Stage
from faq_pipeline.execution.cost import PastRuns
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.execution.runner import plan
from faq_pipeline.models.device_memory import memory_in_words
from faq_pipeline.planning.cell_plan import declared_keys
from faq_pipeline.quantization.methods import learns_rounding, time_over_gptq
from faq_pipeline.settings import Settings
from faq_pipeline.util.pages import duration, size

COST = ("memory", "tokens\nat most", "time")
"""Columns that a plan has for what is to be made."""
WIDTH = 80
"""Of the tables, in characters, however wide the terminal is."""


def show_plan(settings: Settings, cells: list[Cell], *, json: bool, unwanted: Collection[str] = ()) -> None:
    """Print the plan of some cells, one row per stage.

    Args:
        unwanted: stages that will not be made.
    """
    rows = [row for row in planned_rows(settings, cells) if row["asset"] not in unwanted]
    if json:
        print_json({"plan": rows})
        return
    say(f"{cells[-1].target.partition}: what a run would do")
    for recipe, stages in groupby(rows, key=lambda row: str(row["recipe"])):
        shown = [
            [
                row["asset"],
                "shared" if row["shared"] else row["cache"],
                *_cost([row]),
                _bytes(row["disk_mib"], 2**20),
            ]
            for row in stages
        ]
        out().print(table(recipe, ["asset", "cache", *COST, "disk"], shown, most=WIDTH))
    wrapped(plan_summary(rows))
    _explain_memory(rows, cells[-1].device)
    if line := slow_method_line(settings, cells):
        wrapped(line)


def slow_method_line(settings: Settings, cells: list[Cell]) -> str:
    """How long the missing checkpoints of a method that is much slower than GPTQ take; "" where none is."""
    past, name = PastRuns(settings.store), stage_names.QUANTIZED_CHECKPOINT
    slow = [
        (cell.recipe.quantization, times, past.estimate(STAGES[name], cell).seconds)
        for cell in cells
        if (times := time_over_gptq(cell.recipe.quantization)) is not None
        and plan(cell, STAGES, settings.store)[name].artifact is None
    ]
    if not slow:
        return ""
    spec, times, _ = slow[-1]
    known = [taken for *_, taken in slow if taken is not None]
    count = f"{len(slow)} checkpoints" if len(slow) > 1 else "the checkpoint"
    here = (
        f"{count} will take about {duration(sum(known))}"
        if len(known) == len(slow)
        else "how long here is not known yet"
    )
    how = f"{spec.method} with {spec.iterations} iterations" if learns_rounding(spec) else spec.method
    return f"time: {how} took about {times:.0f} times as long as gptq on a small model on a CPU; {here}"


def show_cells(rows: list[dict[str, Any]], device: str) -> None:
    """Print a plan of many cells, one row per cell. A shared stage counts only in its first cell.

    Args:
        device: of the cells.
    """
    cells: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for row in rows:
        cells.setdefault(row["member"], {}).setdefault(row["recipe"], []).append(row)
    say(f"{sum(map(len, cells.values()))} cells: what a backfill would do")
    for member, recipes in cells.items():
        shown = []
        for recipe, stages in recipes.items():
            made = [row for row in stages if row["cache"] == "hit" and not row["shared"]]
            missing = [row for row in stages if row["cache"] == "miss"]
            shown.append([recipe, f"{len(made)}/{len(stages)}", str(len(missing)), *_cost(missing)])
        out().print(table(member, ["recipe", "cached", "to make", *COST], shown, most=WIDTH))
    counted = Counter(row["asset"] for row in rows if row["cache"] == "miss")
    if counted:
        wrapped(f"to make: {', '.join(f'{count} {asset}' for asset, count in counted.items())}")
    wrapped(plan_summary(rows))
    _explain_memory(rows, device)


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
    times = [f"about {duration(sum(known))}"] if known or not misses else []
    unknown = len(misses) - len(known)
    if unknown:
        times.append(f"{unknown} stage{'s' * (unknown > 1)} of unknown time (no comparable run here yet)")
    own = f"{len(rows) - len(misses) - shared} hits, {len(misses)} to make, {' and '.join(times)}"
    if not shared:
        return own
    return f"{own}; {shared} more are shared: each is made once in this run, for the first cell that needs it"


def _cost(missing: list[dict[str, Any]]) -> list[str]:
    """Of stages that are made one after another, the cells of the columns `COST`."""
    known = [row["seconds"] for row in missing if row["seconds"] is not None]
    tokens = sum(row["tokens"] or 0 for row in missing)
    return [
        _bytes(max((row["memory_gib"] or 0 for row in missing), default=0) or None, 2**30),
        f"{tokens:,}" if tokens else "",
        duration(sum(known)) + ("" if len(known) == len(missing) else " + ?") if known else "",
    ]


def _explain_memory(rows: list[dict[str, Any]], device: str) -> None:
    """What the figures in the column `memory` are of, in a line; nothing where there are none."""
    if any(row["memory_gib"] for row in rows):
        wrapped(f"memory: {memory_in_words(device)}")


def _bytes(count: float | None, unit: int) -> str:
    return "" if count is None else size(count * unit)
