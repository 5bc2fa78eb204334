"""Publishing a checkpoint, once: to its folder, and to a repository where one is named and open."""

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

Status = Literal["new", "already", "withdrawn"]
Put = Callable[[], tuple[str | None, bool]]
"""Has a place hold the checkpoint; tells the commit, and whether it did not hold it before."""


@dataclass(frozen=True)
class Destinations:
    """Where a cell's checkpoints go.

    Attributes:
        cell_directory: `<directory>/<member>/<recipe>`.
        repository: `owner/name`, where the family names one.
        token: that may write to it, where the environment has one.
    """

    cell_directory: Path
    repository: str | None = None
    token: str | None = field(default=None, repr=False)

    def folder(self, digest: str) -> PublishDirectory:
        """Where the directory holds a checkpoint."""
        return PublishDirectory(self.cell_directory / digest)


@dataclass(frozen=True)
class Placement:
    """A checkpoint at a place."""

    place: Place
    status: Status
    commit: str | None = None


@dataclass(frozen=True)
class Publication:
    """What came of it. `places` is empty where the checkpoint was withdrawn earlier.

    Attributes:
        notes: what the user should know, one line each.
        reason: of the withdrawal.
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
        """JSON-able."""
        places = [
            {"kind": one.place.kind, "place": str(one.place), "published": one.status, "commit": one.commit}
            for one in self.places
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
    """Have every destination hold the checkpoint, and record it.

    What a destination holds already, recorded or left by a process that was killed before it could
    record it, is not put there a second time; of two processes at once, one waits and finds it there.

    Args:
        again: also if the checkpoint was withdrawn, or its folder deleted by hand; an older one becomes
            `current`.
        run: of Dagster, for the record.

    Raises:
        FaqError: a destination cannot be written to. What was reached before is recorded.
    """
    digest = content.digest
    with records.locked(digest):
        record = records.read(digest, content.checkpoint.fingerprint)
        if record.withdrawal is not None and not again:
            return Publication(digest, reason=record.withdrawal.reason or "")
        visit = _Visit(content, records, record, again, run)
        folder = destinations.folder(digest)
        notes = []
        visit.put(folder.place, lambda: (None, folder.publish(content)))
        if not folder.path.is_dir():
            notes.append(f"{folder.place} was deleted by hand: faq publish --again puts it back")
        if destinations.repository is not None:
            place = place_of(destinations.repository)
            if destinations.token is None and (again or record.at(place) is None):
                notes.append(f"not pushed to {destinations.repository}: {TOKEN} is not set")
            else:
                repository = HubRepository(destinations.repository, destinations.token or "")
                visit.put(place, lambda: _push(repository, folder, content, again))
        return Publication(digest, tuple(visit.placed), tuple(notes))


class _Visit:
    """One way through the destinations; the record grows on it."""

    def __init__(
        self, content: PublishedContent, records: Records, record: Record, again: bool, run: str | None
    ):
        self.placed: list[Placement] = []
        self._content, self._records, self._record = content, records, record
        self._again, self._run = again, run

    def put(self, place: Place, put: Put) -> None:
        """Have the place hold the checkpoint, unless the record says that it does."""
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
        raise FaqError(
            "what should be pushed was deleted by hand", hint="faq publish --again", file=folder.path
        )
    return repository.publish(folder.path, content.digest, content.cell, again=again)
