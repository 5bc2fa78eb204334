"""Follow a backfill in the terminal: finished cells, running stages, and whether a daemon is alive."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from faq_pipeline.cli.display import err, out, say, seconds, table
from faq_pipeline.orchestration.backfill_state import BackfillState, CellProgress, CellRun
from faq_pipeline.orchestration.backfills import BackfillWatch

POLL = 2.0
"""Seconds between two polls of the Dagster instance."""
COLOURS = {CellProgress.DONE: "green", CellProgress.FAILED: "red", CellProgress.CANCELED: "yellow"}
NO_DAEMON = "start one: make ui, or dagster-daemon run -w workspace.yaml"


def follow(backfill: BackfillWatch) -> BackfillState:
    """Show the backfill on stderr until it ends. Each finished cell leaves a permanent line."""
    view, state = _View(), backfill.read()
    with view.live:
        while True:
            view.show(state, backfill.daemon_silence())
            if state.over:
                return state
            time.sleep(POLL)
            state = backfill.read(state)


def silence_in_words(silence: float) -> str:
    """A warning that no daemon executes backfills, since when, and what to do.

    Args:
        silence: seconds since the last heartbeat of a daemon; infinite if there was none.
    """
    since = "none has run here yet" if silence == float("inf") else f"last heartbeat {seconds(silence)} ago"
    return f"no Dagster daemon is running ({since}); {NO_DAEMON}"


def show_end(state: BackfillState) -> None:
    """Print the table of cells and the totals to stdout."""
    rows = [
        [
            *cell.partition.split("|", 1),
            cell.standing.value,
            "" if cell.seconds is None else seconds(cell.seconds),
            str(cell.made) if cell.standing.ended else "",
            cell.reason,
        ]
        for cell in state.cells
    ]
    columns = ["member", "recipe", "", "time", "stages made", "reason"]
    out().print(table(f"Backfill {state.id}: {state.status.replace('_', ' ')}", columns, rows))
    counts = [f"{state.count(kind)} {kind.value}" for kind in CellProgress if state.count(kind)]
    say(f"{len(state.cells)} cells: {', '.join(counts)}")
    if state.problem:
        say(state.problem)


def as_json(state: BackfillState) -> dict[str, Any]:
    """The state of the backfill as JSON-serializable data."""
    return {
        "backfill": state.id,
        "status": state.status,
        "complete": state.complete,
        "problem": state.problem or None,
        "partitions": [cell.partition for cell in state.cells],
        "cells": [
            {
                "partition": cell.partition,
                "status": cell.standing.value,
                "run": cell.run,
                "seconds": cell.seconds,
                "made": cell.made,
                "reason": cell.reason or None,
            }
            for cell in state.cells
        ],
    }


class _View:
    """The live display: lines of finished cells, a progress bar, and below it the running cells."""

    def __init__(self) -> None:
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self._task = self._bar.add_task("", total=None)
        self.live = Live(self._bar, console=err(), transient=True, refresh_per_second=4)
        """The display; a context manager."""
        self._reported: set[str] = set()
        self._silent = False

    def show(self, state: BackfillState, silence: float | None) -> None:
        for cell in state.cells:
            if cell.standing.ended and cell.partition not in self._reported:
                self._reported.add(cell.partition)
                self._line(cell)
        counts = [f"{state.count(kind)} {kind.value}" for kind in CellProgress if state.count(kind)]
        ended = sum(cell.standing.ended for cell in state.cells)
        self._bar.update(self._task, total=len(state.cells), completed=ended, description=", ".join(counts))
        self.live.update(Group(self._bar, *_running(state)))
        if (silence is not None) != self._silent and not state.over:
            self._silent = silence is not None
            line = silence_in_words(silence) if silence is not None else "a Dagster daemon is running again"
            self.live.console.print(line, style="yellow", markup=False, soft_wrap=True)

    def _line(self, cell: CellRun) -> None:
        line = Text.assemble(
            (f"  {cell.standing.value:<8} ", COLOURS[cell.standing]),
            cell.partition,
            "" if cell.seconds is None else f"  {seconds(cell.seconds)}",
            f": {cell.reason}" if cell.reason else "",
        )
        self.live.console.print(line, soft_wrap=True)


def _running(state: BackfillState) -> list[Text]:
    """One line per running cell, with its current stages."""
    running = [cell for cell in state.cells if cell.standing is CellProgress.RUNNING]
    return [Text(f"  {cell.partition}  {', '.join(cell.now) or 'between stages'}") for cell in running]
