"""`faq publish`, `faq published`, `faq withdraw`: publish checkpoints, list them, take them back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from faq_pipeline.cli.display import out, print_json, say, table
from faq_pipeline.cli.options import (
    DEFAULT_MEMBER,
    DEFAULT_RECIPE,
    DeviceOption,
    JsonOption,
    MemberOption,
    RecipeOption,
)
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.resolver import resolve_cell
from faq_pipeline.errors import FaqError
from faq_pipeline.settings import Settings


def publish(
    member: MemberOption = DEFAULT_MEMBER,
    recipe: RecipeOption = DEFAULT_RECIPE,
    device: DeviceOption = "",
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Check the files, print the gate's verdict and the model card; publish nothing."
        ),
    ] = False,
    again: Annotated[
        bool,
        typer.Option(
            "--again", help="Publish even a withdrawn checkpoint, or make an older one current again."
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Publish a finished checkpoint that passes the gate to the places its family names.

    A checkpoint that is already published is not published twice.
    """
    settings = Settings.from_environment()
    if device:
        settings = replace(settings, device=device)
    catalog = settings.catalog
    cell = resolve_cell(catalog, member, catalog.recipe(recipe), settings.device, settings.digests)
    if dry_run:
        _show_review(settings, cell, json=json)
        return
    done = _execute(settings, cell, again=again)
    if json:
        print_json({"cell": cell.partition, **done})
    if done["published"] == "withdrawn":
        raise FaqError(
            f"checkpoint {done['digest']} was withdrawn: {done['reason']}",
            hint="to publish it anyway: faq publish --again",
        )
    if not json:
        for place in done["places"]:
            status = "published" if place["published"] == "new" else "already published"
            commit = f", commit {place['commit']}" if place["commit"] else ""
            say(f"{status}  {place['place']}{commit}")
        for note in done["notes"]:
            say(f"note  {note}")


def published(json: JsonOption = False) -> None:
    """List published and withdrawn checkpoints with their places."""
    from faq_pipeline.publishing.review import records_of

    records = records_of(Settings.from_environment())
    rows = [row for record in records.all() for row in _rows(record)]
    if json:
        print_json({"published": rows})
        return
    shown = [
        [row["cell"], row["digest"], row["place"], row["status"], row["when"][:19], row["by"], row["reason"]]
        for row in rows
    ]
    columns = ["cell", "digest", "place", "status", "when (UTC)", "by", "reason"]
    out().print(table("Published checkpoints", columns, shown))
    for path in records.broken():
        say(f"unreadable record: {path}")


def withdraw(
    checkpoint: Annotated[
        str, typer.Argument(help="Fingerprint or digest of a checkpoint, or its first digits.")
    ],
    reason: Annotated[
        str, typer.Option("--reason", help="What is wrong with it. Recorded and shown to users.")
    ],
    json: JsonOption = False,
) -> None:
    """Withdraw a published checkpoint: delete its folder, and its files in the repository by a commit."""
    from faq_pipeline.publishing.review import records_of
    from faq_pipeline.publishing.withdraw import withdraw as take_back

    done = take_back(records_of(Settings.from_environment()), checkpoint, reason)
    removed = [str(place) for place in done.removed]
    if json:
        print_json({"digest": done.record.digest, "removed": removed, "notes": list(done.notes)})
        return
    for line in (*(f"withdrawn  {place}" for place in removed), *(f"note  {note}" for note in done.notes)):
        say(line)
    if not removed:
        say(f"checkpoint {done.record.digest} was already withdrawn")


def _execute(settings: Settings, cell: Cell, *, again: bool) -> dict[str, Any]:
    """Publish through Dagster. The result is described at `Publication.as_dict`."""
    from faq_pipeline.cli.progress import TerminalProgress
    from faq_pipeline.orchestration.jobs import PUBLISH
    from faq_pipeline.orchestration.runs import Runs, open_instance

    with open_instance(settings) as instance:
        runs = Runs(settings, instance, TerminalProgress())
        done = runs.execute(PUBLISH, cell.partition, "published_checkpoint", {"again": again})
    return dict(done["publication"])


def _show_review(settings: Settings, cell: Cell, *, json: bool) -> None:
    """Print the gate's verdict and the model card, which hold for the bytes that were committed.

    Raises:
        FaqError: the checkpoint's bytes are others now, or it does not pass the gate.
    """
    from faq_pipeline.publishing.review import content_of, review_cell

    review = review_cell(settings, cell)
    content = content_of(settings, review)
    content.check()
    if json:
        print_json({"cell": cell.partition, "verdict": review.verdict.as_dict(), "card": content.card})
    else:
        rows = [
            [criterion.name, "passed" if criterion.passed else "failed", criterion.found, criterion.needed]
            for criterion in review.verdict.criteria
        ]
        out().print(table(cell.partition, ["criterion", "verdict", "found", "needed"], rows))
        say(content.card)
    if not review.verdict.passed:
        raise FaqError(f"{cell.partition} cannot be published: {review.verdict.reason}")


def _rows(record: Any) -> list[dict[str, Any]]:
    """One row for each place of a record."""
    from faq_pipeline.publishing.directory import PublishDirectory

    rows = []
    for place in record.places():
        event, withdrawal = record.latest(place), record.withdrawal
        status = "published" if event.what == "published" else "withdrawn"
        if status == "published" and withdrawal is not None:
            status = "withdrawn, still there"
        elif (
            status == "published"
            and place.kind == "directory"
            and PublishDirectory(Path(place.name)).is_current
        ):
            status = "current"
        rows.append(
            {
                "cell": event.cell,
                "fingerprint": record.fingerprint,
                "digest": record.digest,
                "place": str(place),
                "status": status,
                "when": event.when,
                "by": event.by,
                "commit": event.commit,
                "reason": withdrawal.reason if withdrawal is not None else "",
            }
        )
    return rows
