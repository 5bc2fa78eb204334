"""`faq cache`: list, verify and clean the artifact store."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from faq_pipeline.cli.display import print_json, say, seconds, wrapped
from faq_pipeline.cli.long_table import print_table
from faq_pipeline.cli.options import JsonOption
from faq_pipeline.errors import ReadError
from faq_pipeline.lineage.uses import read_uses
from faq_pipeline.settings import Settings
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.damage import find_damage
from faq_pipeline.store.store import Store
from faq_pipeline.util.pages import size

app = typer.Typer(help="List, verify and clean the artifact store.", no_args_is_help=True)


@app.command("ls")
def ls(json: JsonOption = False) -> None:
    """List all artifacts and the cells that use them. Broken artifacts are only counted."""
    store = Settings.from_environment().store
    rows: list[dict[str, Any]] = []
    unread: list[str] = []
    folders, cells = list(store.folders()), _cells(store)
    for artifact in folders:
        try:
            if not artifact.readable:
                continue
        except ReadError as error:
            unread.append(str(error))
            continue
        m = artifact.manifest
        held = sum(entry.bytes for entry in m.files)
        rows.append(
            {
                "stage": m.stage,
                "fingerprint": m.fingerprint,
                "digest": m.digest,
                "bytes": held,
                "created": m.created,
                "seconds": m.seconds,
                "cells": sorted(cells.get(m.fingerprint, ())),
            }
        )
    for line in unread:
        say(line)
    kept = store.unfinished.bytes
    if json:
        print_json({"artifacts": rows, "unfinished_bytes": kept})
        return
    shown = [
        [
            str(row["stage"]),
            str(row["fingerprint"])[:8],
            size(row["bytes"]),
            str(row["created"])[:16].replace("T", " "),
            seconds(row["seconds"]),
            _named(row["cells"]),
        ]
        for row in rows
    ]
    print_table("Artifacts", ["stage", "key", "size", "created (UTC)", "time", "cells"], shown)
    broken = len(folders) - len(rows) - len(unread)
    if broken:
        say(f"{broken} broken artifacts are not listed; see  faq cache verify")
    if kept:
        layers = f"{size(kept)} of layers from interrupted quantizations are kept"
        wrapped(f"{layers}: run the same command again to continue; faq cache gc --ledgers deletes them")


def _cells(store: Store) -> dict[str, set[str]]:
    """The cells that used each artifact, by fingerprint."""
    found: dict[str, set[str]] = {}
    for use in read_uses(store):
        found.setdefault(use.fingerprint, set()).add(use.partition)
    return found


def _named(cells: Sequence[str]) -> str:
    """The first cell, and how many more there are."""
    first = cells[0].replace("|", " ") if cells else "-"
    return first if len(cells) < 2 else f"{first}, and {len(cells) - 1} more"


@app.command("verify")
def verify() -> None:
    """Hash every file and compare with the manifests. Exits with 1 if an artifact is damaged."""
    damage = find_damage(Settings.from_environment().store)
    for problem in damage.problems:
        say(problem)
    for artifact in damage.suspect:
        say(f"{artifact.path}: may have been made from a broken artifact")
    say(f"{damage.count} artifacts, {len(damage.problems)} problems")
    if damage.broken:
        say("remove what is broken, and what was made from it, with  faq cache gc --broken  and run again")
    if damage.problems:
        raise typer.Exit(1)


@app.command("gc")
def gc(
    broken: Annotated[
        bool,
        typer.Option("--broken", help="Also delete damaged artifacts, and what was made from them."),
    ] = False,
    unused: Annotated[
        bool, typer.Option("--unused", help="Also delete artifacts that no cell uses any more (see above).")
    ] = False,
    ledgers: Annotated[
        bool,
        typer.Option(
            "--ledgers",
            help="Also delete the ledgers of finished candidates, and finished layers of interrupted"
            " quantizations. Not while a run is sampling or quantizing.",
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be deleted.")] = False,
) -> None:
    """Delete leftovers of killed runs and, on request, broken or unused artifacts.

    --unused deletes artifacts that a later run of the same cell, device and draw replaced, and
    artifacts that no run recorded, unless a kept artifact was made from them. It keeps everything used
    by cells that cannot be resolved now: the recipe is missing or broken, or the weights are absent or
    of another revision. Check with --dry-run first.

    --broken deletes what faq cache verify finds, and what may have been made from it since it was
    damaged. Artifacts that cannot be read for another reason (permissions, a disk that does not
    answer) are kept.
    """
    settings = Settings.from_environment()
    store = settings.store
    doomed: dict[Path, Artifact] = {}
    if broken:
        damage = find_damage(store)
        for line in damage.unread:
            say(f"left alone: {line}")
        doomed |= {a.path: a for a in [*damage.broken, *damage.suspect]}
    if unused:
        from faq_pipeline.planning.retention import unused_artifacts

        doomed |= {a.path: a for a in unused_artifacts(settings)}
    for artifact in doomed.values():
        say(f"{artifact.path.parent.name} {artifact.path.name}")
    if dry_run:
        say(f"{len(doomed)} artifacts would be removed")
        return
    for artifact in doomed.values():
        store.remove(artifact)
    if ledgers:
        shutil.rmtree(store.ledgers, ignore_errors=True)
    say(f"{len(doomed)} artifacts and {store.sweep()} leftovers removed")
