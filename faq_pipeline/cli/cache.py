"""`faq cache`: the artifact store."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from faq_pipeline.cli.display import out, print_json, say, table
from faq_pipeline.cli.options import JsonOption
from faq_pipeline.settings import Settings
from faq_pipeline.store.artifact import Artifact

app = typer.Typer(help="Look after the artifact store.", no_args_is_help=True)


@app.command("ls")
def ls(json: JsonOption = False) -> None:
    """List all artifacts."""
    rows = []
    for artifact in Settings.from_environment().store.artifacts():
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


@app.command("verify")
def verify() -> None:
    """Hash every file again and compare with the manifests; exit 1 if bytes changed."""
    store = Settings.from_environment().store
    artifacts = list(store.artifacts())
    problems = [problem for artifact in artifacts for problem in store.verify(artifact)]
    for problem in problems:
        say(problem)
    say(f"{len(artifacts)} artifacts, {len(problems)} problems")
    if problems:
        say("remove a broken artifact with  faq cache gc --broken  and run again")
        raise typer.Exit(1)


@app.command("gc")
def gc(
    broken: Annotated[bool, typer.Option("--broken", help="Also artifacts whose bytes changed.")] = False,
    unused: Annotated[
        bool, typer.Option("--unused", help="Also artifacts that no current cell uses.")
    ] = False,
    ledgers: Annotated[
        bool,
        typer.Option("--ledgers", help="Also the ledgers of finished candidates; not while a run samples."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Delete what killed runs left behind, and on request broken or unused artifacts."""
    settings = Settings.from_environment()
    store = settings.store
    doomed: dict[Path, Artifact] = {}
    if broken:
        doomed |= {a.path: a for a in store.artifacts() if store.verify(a)}
    if unused:
        from faq_pipeline.matrix import reachable

        kept = reachable(settings)
        doomed |= {a.path: a for a in store.artifacts() if a.path.name not in kept}
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
