"""Progress of a run in the terminal: a bar for the running stage, a line for each finished one."""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

from faq_pipeline.cli.display import err, seconds
from faq_pipeline.execution.runner import Outcome
from faq_pipeline.orchestration.resources import ProgressResource


def bars() -> Progress:
    """The live progress display on stderr. Use it as a context manager."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err(),
        transient=True,
    )


class TerminalProgress(ProgressResource):
    """Draws progress bars on stderr and collects the outcome of every stage for the final summary."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        """One row per stage: member, recipe, asset, fingerprint, cache, seconds."""
        self.notes: list[dict[str, Any]] = []
        """What the artifacts say that a user should know, also of cache hits, each once: member, recipes,
        asset, fingerprint, note."""
        self.bars = bars()

    def heading(self, text: str) -> None:
        """Print a heading for the stages that follow."""
        self.bars.console.print(f"[bold]{text}[/bold]")

    def listen(self, context: object, stage: str) -> TerminalListener:
        return TerminalListener(self.bars, stage)

    def finished(self, member: str, recipe: str, outcome: Outcome) -> None:
        for task in list(self.bars.task_ids):
            self.bars.remove_task(task)
        artifact = outcome.artifact
        self.rows.append(
            {
                "member": member,
                "recipe": recipe,
                "asset": outcome.stage.name,
                "fingerprint": artifact.fingerprint,
                "cache": outcome.cache,
                "seconds": round(outcome.seconds, 3),
            }
        )
        for note in artifact.metadata.get("notes", []):
            self._keep(note, self.rows[-1])
        mark = "[cyan]hit [/cyan]" if outcome.hit else "[green]made[/green]"
        self.bars.console.print(
            f"  {mark} {outcome.stage.name:<22} {artifact.fingerprint[:8]}  {seconds(outcome.seconds)}"
        )

    def waits(self, message: str) -> None:
        self.bars.console.print(f"  [yellow]note[/yellow] {escape(message)}", soft_wrap=True)

    def _keep(self, note: str, row: dict[str, Any]) -> None:
        """Several recipes may share an artifact; its notes then name them all."""
        for kept in self.notes:
            if (kept["fingerprint"], kept["note"]) == (row["fingerprint"], note):
                kept["recipes"].append(row["recipe"])
                return
        named = {name: row[name] for name in ("member", "asset", "fingerprint")}
        self.notes.append({**named, "recipes": [row["recipe"]], "note": note})


class TerminalListener:
    """Shows the progress of one stage as a bar."""

    def __init__(self, bars: Progress, stage: str) -> None:
        self._bars, self._stage = bars, stage
        self._task = bars.add_task(stage, total=None)
        self._what = stage

    def start(self, what: str, total: int) -> None:
        self._what = f"{self._stage}: {what}"
        self._bars.update(self._task, description=self._what, total=total, completed=0)

    def advance(self, done: int = 1) -> None:
        self._bars.update(self._task, advance=done)

    def detail(self, text: str) -> None:
        self._bars.update(self._task, description=f"{self._what} ({escape(text)})")

    def note(self, message: str) -> None:
        self._bars.console.print(f"  [yellow]note[/yellow] {self._stage}: {escape(message)}", soft_wrap=True)
