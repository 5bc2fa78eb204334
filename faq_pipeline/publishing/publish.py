"""Publish a checkpoint once: to a directory and, if the family names one, to a hub repository."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from faq_pipeline.errors import FaqError
from faq_pipeline.publishing.content import PublishedContent
from faq_pipeline.publishing.directory import PublishDirectory
from faq_pipeline.publishing.hub import TOKEN, HubRepository, place_of
from faq_pipeline.publishing.record import Event, Place, Record, Records, now, somebody
from faq_pipeline.quantization.stage import CHECKPOINT
from faq_pipeline.store.copying import copy_problems

Status = Literal["new", "already", "withdrawn"]
Put = Callable[[], tuple[str | None, bool]]
"""Publishes a checkpoint to a place; returns the commit, if any, and whether it is new there."""


@dataclass(frozen=True)
class Destinations:
    """Where the checkpoints of a cell are published.

    Attributes:
        cell_directory: `<directory>/<member>/<recipe>`.
        repository: `owner/name`; None if the family names none.
        token: write token for the repository; None if the environment has none.
    """

    cell_directory: Path
    repository: str | None = None
    token: str | None = field(default=None, repr=False)

    def folder(self, digest: str) -> PublishDirectory:
        """The folder of a checkpoint."""
        return PublishDirectory(self.cell_directory / digest)


@dataclass(frozen=True)
class Placement:
    """The outcome for one place."""

    place: Place
    status: Status
    commit: str | None = None


@dataclass(frozen=True)
class Publication:
    """The outcome of `publish`.

    Attributes:
        places: empty if the checkpoint was withdrawn earlier.
        notes: messages for the user, one line each.
        reason: the reason of an earlier withdrawal.
    """

    digest: str
    places: tuple[Placement, ...] = ()
    notes: tuple[str, ...] = ()
    reason: str = ""

    @property
    def status(self) -> Status:
        if not self.places:
            return "withdrawn"
        return "new" if any(placed.status == "new" for placed in self.places) else "already"

    def as_dict(self) -> dict[str, Any]:
        """As JSON-serializable data."""
        places = [
            {
                "kind": placed.place.kind,
                "place": str(placed.place),
                "published": placed.status,
                "commit": placed.commit,
            }
            for placed in self.places
        ]
        return {
            "published": self.status,
            "digest": self.digest,
            "places": places,
            "notes": list(self.notes),
            "reason": self.reason,
        }


def publish(
    content: PublishedContent,
    destinations: Destinations,
    records: Records,
    *,
    again: bool = False,
    run: str | None = None,
) -> Publication:
    """Publish the checkpoint to every destination, and record it.

    A destination that already holds the checkpoint is skipped, even if the process that published it
    was killed before it recorded that. Of two concurrent calls, one waits and finds it published.

    Args:
        again: publish even if the checkpoint was withdrawn or its folder was deleted by hand; an older
            checkpoint becomes `current` again.
        run: id of the Dagster run, for the record.

    Raises:
        FaqError: a destination cannot be written to, or the folder to push is no longer the checkpoint.
            Publications to earlier destinations are recorded.
    """
    digest = content.digest
    with records.locked(digest):
        record = records.read(digest, content.checkpoint.fingerprint)
        if record.withdrawal is not None and not again:
            return Publication(digest, reason=record.withdrawal.reason or "")
        publisher = _Publisher(content, records, record, again, run)
        folder = destinations.folder(digest)
        notes = []
        publisher.put(folder.place, lambda: (None, folder.publish(content)))
        if not folder.path.is_dir():
            notes.append(f"{folder.place} was deleted by hand; to restore it: faq publish --again")
        if destinations.repository is not None:
            place = place_of(destinations.repository)
            if destinations.token is None and (again or record.at(place) is None):
                notes.append(f"not pushed to {destinations.repository}: {TOKEN} is not set")
            else:
                repository = HubRepository(destinations.repository, destinations.token or "")
                publisher.put(place, lambda: _push(repository, folder, content, again))
        return Publication(digest, tuple(publisher.placed), tuple(notes))


class _Publisher:
    """Publishes one checkpoint to one place after another and records each."""

    def __init__(
        self, content: PublishedContent, records: Records, record: Record, again: bool, run: str | None
    ):
        self.placed: list[Placement] = []
        self._content, self._records, self._record = content, records, record
        self._again, self._run = again, run

    def put(self, place: Place, put: Put) -> None:
        """Publish to a place, unless the record shows that the checkpoint is there."""
        known = self._record.at(place)
        if known is not None and not self._again:
            self.placed.append(Placement(place, "already", known.commit))
            return
        commit, new = put()
        event = Event(
            what="published",
            when=now(),
            by=somebody(),
            cell=self._content.cell,
            place=place,
            commit=commit,
            run=self._run,
        )
        self._record = self._records.add(self._record, event)
        self.placed.append(Placement(place, "new" if new else "already", commit))


def _push(
    repository: HubRepository, folder: PublishDirectory, content: PublishedContent, again: bool
) -> tuple[str | None, bool]:
    if not folder.path.is_dir():
        raise FaqError("the folder to push was deleted by hand", hint="faq publish --again", file=folder.path)
    # The user can change the folder, and it may have been written long before this push.
    for problem in copy_problems(content.checkpoint, CHECKPOINT, folder.path):
        raise FaqError(
            f"{problem.what}: the published copy has changed, so it is not pushed",
            hint="move its folder away, then faq publish --again",
            file=problem.path,
        )
    return repository.publish(folder.path, content.digest, content.cell, again=again)
