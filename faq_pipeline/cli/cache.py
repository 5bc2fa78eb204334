"""`faq cache`: the artifact store."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from faq_pipeline.cli.display import out, print_json, say, table
from faq_pipeline.cli.options import JsonOption
from faq_pipeline.errors import ReadError
from faq_pipeline.settings import Settings
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.damage import find_damage

app = typer.Typer(help="Look after the artifact store.", no_args_is_help=True)


@app.command("ls")
def ls(json: JsonOption = False) -> None:
    """List all artifacts; broken ones are only counted."""
    rows, unread = [], []
    folders = list(Settings.from_environment().store.folders())
    for artifact in folders:
        try:
            if not artifact.readable:
                continue
        except ReadError as error:
            unread.append(str(error))
            continue
        m = artifact.manifest
        size = sum(entry.bytes for entry in m.files)
        rows.append(
            {
                "stage": m.stage,
                "fingerprint": m.fingerprint,
                "digest": m.digest,
                "bytes": size,
                "created": m.created,
                "seconds": m.seconds,
            }
        )
    for line in unread:
        say(line)
    if json:
        print_json({"artifacts": rows})
        return
    shown = [
        [
            str(r["stage"]),
            str(r["fingerprint"]),
            f"{int(str(r['bytes'])) / 2**20:.2f} MiB",
            str(r["created"]),
            f"{r['seconds']} s",
        ]
        for r in rows
    ]
    out().print(table("Artifacts", ["stage", "fingerprint", "size", "made", "in"], shown))
    broken = len(folders) - len(rows) - len(unread)
    if broken:
        say(f"{broken} broken ones are not listed; see  faq cache verify")


@app.command("verify")
def verify() -> None:
    """Read every artifact again and compare it with its manifest; exit 1 if one is not as committed."""
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
        typer.Option(
            "--broken", help="Also artifacts that are not as committed, and what was made from them."
        ),
    ] = False,
    unused: Annotated[
        bool, typer.Option("--unused", help="Also artifacts that no cell uses any more; see above.")
    ] = False,
    ledgers: Annotated[
        bool,
        typer.Option("--ledgers", help="Also the ledgers of finished candidates; not while a run samples."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Delete what killed runs left behind, and on request broken or unused artifacts.

    --unused takes what a later run of the same cell, device and draw has replaced, what nothing
    that is kept was made from, and what no run recorded. It keeps all that was used by cells which
    cannot be resolved now: a recipe that is gone or broken, weights that are absent or of another
    revision. Look at --dry-run first.

    --broken takes what faq cache verify finds, and what may have been made from it since it was
    damaged. What cannot be read for another reason (rights, a disk that does not answer) stays.
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
        say(f"{len(doomed)} artifacts would go")
        return
    for artifact in doomed.values():
        store.remove(artifact)
    if ledgers:
        shutil.rmtree(store.ledgers, ignore_errors=True)
    say(f"{len(doomed)} artifacts and {store.sweep()} leftovers removed")
