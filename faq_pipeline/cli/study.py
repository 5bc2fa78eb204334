"""`faq study`: run and report studies, which compare many checkpoints."""

from __future__ import annotations

import json
import math
import os
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from faq_pipeline.cli.display import figure, out, print_json, say, seconds, table
from faq_pipeline.cli.options import DeviceOption, JsonOption
from faq_pipeline.errors import FaqError
from faq_pipeline.settings import Settings
from faq_pipeline.study.design.cells import Design, resolve_study
from faq_pipeline.util.atomic_files import write_atomic
from faq_pipeline.util.memoize import memoizing

app = typer.Typer(
    help="Run and report studies: compare ways to make calibration data over quantizers and random draws.",
    no_args_is_help=True,
)

NameArgument = Annotated[str, typer.Argument(help="Name of the study.")]


@app.command("list")
def list_studies(json: JsonOption = False) -> None:
    """List all studies."""
    settings = Settings.from_environment()
    rows: list[dict[str, Any]] = []
    for name in settings.catalog.study_names:
        row: dict[str, Any] = {"study": name, "title": "", "arms": 0, "cells": 0, "problem": ""}
        try:
            design = _design(settings, name)
            row |= {
                "title": design.study.title,
                "arms": len(design.study.arms),
                "cells": len(design.cells),
            }
        except FaqError as error:
            row["problem"] = str(error)
        rows.append(row)
    if json:
        print_json({"studies": rows})
        return
    out().print(table("Studies", list(rows[0]) if rows else [], [[str(v) for v in r.values()] for r in rows]))


@app.command("run")
def run(
    name: NameArgument,
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            min=0,
            help="Number of processes. 0: one per core, or two per GPU, which take turns."
            " With more than two per GPU, all share the GPUs.",
        ),
    ] = 0,
    minutes: Annotated[
        float, typer.Option("--minutes", min=0, help="Start no new task after this many minutes.")
    ] = math.inf,
    shard: Annotated[
        str, typer.Option("--shard", help="Make only part i of n, as i/n, to split a study over machines.")
    ] = "1/1",
    device: DeviceOption = "",
    json: JsonOption = False,
) -> None:
    """Make the unfinished cells of a study. An interrupted run continues where it stopped."""
    from faq_pipeline.cli.progress import TerminalListener, bars
    from faq_pipeline.lineage.index import merge
    from faq_pipeline.models.device import choose_device
    from faq_pipeline.study.execution.run import run_study
    from faq_pipeline.study.execution.workers import default_count

    settings = Settings.from_environment()
    if device:
        settings = replace(settings, device=device)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    design = _design(settings, name).shard(*_shard(shard))
    display = bars()
    with display:
        summary = run_study(
            design,
            settings.store,
            processes=workers or default_count(choose_device(settings.device)),
            minutes=minutes,
            progress=TerminalListener(display, name) if sys.stderr.isatty() else _Lines(name),
        )
    merge(settings.store, settings.lineage)
    if json:
        print_json({"study": name, "left": summary.left, **vars(summary)})
    else:
        say(
            f"{name}: {summary.made} cells made in {seconds(summary.seconds)}, {summary.before} made before,"
            f" {len(summary.failed)} failed, {summary.left} left"
        )
        for cell, problem in summary.failed.items():
            say(f"failed: {cell}: {problem}")
        say(f"to see the results so far:  faq study report {name}")
    if summary.failed:
        raise typer.Exit(1)


@app.command("status")
def status(name: NameArgument, json: JsonOption = False) -> None:
    """Show how many cells of each target and quantizer are finished, failed or missing."""
    from faq_pipeline.study.execution.results import is_finished, read_results

    settings = Settings.from_environment()
    design = _design(settings, name)
    results = read_results(settings.store, name)
    counts: dict[tuple[str, str, str], Counter[str]] = {}
    for cell in design.cells:
        known = results.get(cell.id)
        failed = known is not None and known.problem and known.answers(cell)
        state = (
            "finished" if is_finished(cell, results, settings.store) else "failed" if failed else "missing"
        )
        what = "pilots" if cell.pilot else "cells"
        counts.setdefault((cell.member, cell.quantizer, what), Counter())[state] += 1
    rows = [
        {
            "member": member,
            "quantizer": quantizer,
            "what": what,
            **{state: count[state] for state in ("finished", "failed", "missing")},
        }
        for (member, quantizer, what), count in counts.items()
    ]
    if json:
        print_json({"study": name, "cells": rows})
        return
    columns = ["member", "quantizer", "what", "finished", "failed", "missing"]
    out().print(table(name, columns, [[str(row[column]) for column in columns] for row in rows]))


@app.command("report")
def report(
    name: NameArgument,
    to: Annotated[Path | None, typer.Option("--out", help="Folder to copy the report's files to.")] = None,
    json: JsonOption = False,
) -> None:
    """Write the report of the finished cells: Markdown, HTML, JSON, and a table with one row per cell."""
    from faq_pipeline.study.report.report import RESULTS, materialize_report

    settings = Settings.from_environment()
    artifact = materialize_report(_design(settings, name), settings.store)
    folder = artifact.path
    if to is not None:
        for entry in artifact.manifest.files:
            write_atomic(to / entry.path, artifact.file(entry.path).read_bytes())
        folder = to
    results = _read(artifact.file(RESULTS))
    if json:
        print_json({**results, "report": str(folder)})
        return
    _show(results)
    say(artifact.metadata["in_words"])
    say(f"report  {folder / 'report.html'}")


class _Lines:
    """Progress without a terminal: one line per finished or failed cell."""

    def __init__(self, study: str) -> None:
        self._study, self._total, self._done, self._detail = study, 0, 0, ""

    def start(self, what: str, total: int) -> None:
        self._total = total

    def advance(self, done: int = 1) -> None:
        self._done += done
        sys.stderr.write(f"{self._study}: {self._done}/{self._total} cells{self._detail}\n")

    def detail(self, text: str) -> None:
        self._detail = f", {text}"

    def note(self, message: str) -> None:
        sys.stderr.write(f"{self._study}: {message}\n")


def _show(results: dict[str, Any]) -> None:
    rows = [
        [
            pair["isolates"],
            f"{pair['arm']} against {pair['than']}",
            pair["outcome"].replace("_", " "),
            figure(pair["figure"], 2, 100) if pair["outcome"] == "loss" else figure(pair["figure"], 2),
            pair["verdict"],
        ]
        for pair in results["pairs"]
    ]
    columns = ["isolates", "comparison", "by", "gain: points, or log of the KL ratio", "verdict"]
    out().print(table(results["title"], columns, rows))


def _design(settings: Settings, name: str) -> Design:
    with memoizing():
        return resolve_study(settings.catalog, name, settings.device, settings.digests)


def _shard(text: str) -> tuple[int, int]:
    index, _, count = text.partition("/")
    try:
        part, parts = int(index), int(count)
    except ValueError:
        part = parts = 0
    if not 1 <= part <= parts:
        raise FaqError(f"invalid --shard {text!r}", hint="write i/n with 1 <= i <= n, for example 2/8")
    return part, parts


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
