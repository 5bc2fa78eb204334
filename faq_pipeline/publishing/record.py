"""Records of publications and withdrawals: what, where, by whom and why; one file per checkpoint digest.

A record is append-only: each publication, withdrawal and removal adds an event. A process must hold the
lock of the digest while it publishes or withdraws the checkpoint.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from faq_pipeline.errors import FaqError, reading_file
from faq_pipeline.util.atomic_files import write_atomic
from faq_pipeline.util.files import ABSENT, listing
from faq_pipeline.util.locks import ProcessLock

What = Literal["published", "withdrawn", "removed"]


class Place(BaseModel):
    """Where a checkpoint is published: a folder, or a hub repository as `host/owner/name`."""

    model_config = ConfigDict(frozen=True)
    kind: Literal["directory", "hub"]
    name: str

    def __str__(self) -> str:
        return self.name


class Event(BaseModel):
    """One event in the history of a checkpoint.

    Attributes:
        when: time in UTC, ISO 8601.
        by: user name.
        cell: `name@rev8|recipe` that the checkpoint was published for.
        place: None for `withdrawn`, which applies to all places; each `removed` event names one.
        commit: the commit in the repository, if any.
        run: id of the Dagster run that published it, if any.
    """

    model_config = ConfigDict(frozen=True)
    what: What
    when: str
    by: str
    cell: str
    place: Place | None = None
    commit: str | None = None
    run: str | None = None
    reason: str | None = None


class Record(BaseModel):
    """The history of one checkpoint, oldest event first."""

    model_config = ConfigDict(frozen=True)
    digest: str
    fingerprint: str
    events: tuple[Event, ...] = ()

    @property
    def withdrawal(self) -> Event | None:
        """The withdrawal in force; None if there is none, or the checkpoint was published again after it."""
        decisive = [event for event in self.events if event.what != "removed"]
        return decisive[-1] if decisive and decisive[-1].what == "withdrawn" else None

    def latest(self, place: Place) -> Event | None:
        """The latest event at a place."""
        return next((event for event in reversed(self.events) if event.place == place), None)

    def at(self, place: Place) -> Event | None:
        """The publication at a place; None if there is none or it was removed since."""
        event = self.latest(place)
        return event if event is not None and event.what == "published" else None

    def places(self) -> list[Place]:
        """All places where the checkpoint was ever published."""
        return list(dict.fromkeys(event.place for event in self.events if event.place is not None))

    def standing(self) -> list[Place]:
        """The places where the checkpoint is published now."""
        return [place for place in self.places() if self.at(place) is not None]


@dataclass(frozen=True)
class Records:
    """The records of one installation, in files named `<digest>.json`."""

    folder: Path

    @contextmanager
    def locked(self, digest: str) -> Iterator[None]:
        """Hold the exclusive lock of a checkpoint. The lock is released if its holder dies."""
        with ProcessLock(self.folder / ".locks" / f"{digest}.lock"):
            yield

    def read(self, digest: str, fingerprint: str) -> Record:
        """The record of a checkpoint; an empty record if there is none yet.

        Raises:
            FaqError: the record is damaged or cannot be read. It may contain a withdrawal, so it is
                not ignored.
        """
        path = self._path(digest)
        try:
            return _parsed(path)
        except ABSENT:
            return Record(digest=digest, fingerprint=fingerprint)
        except ValueError:
            raise FaqError(
                "this publication record cannot be read",
                hint="restore it, or delete it if the checkpoint was never withdrawn",
                file=path,
            ) from None

    def all(self) -> list[Record]:
        """All records that are not damaged.

        Raises:
            ReadError: a record cannot be read now.
        """
        return [found for _, found in self._parsed() if found is not None]

    def broken(self) -> list[Path]:
        """The files of damaged records.

        Raises:
            ReadError: a record cannot be read now.
        """
        return [path for path, found in self._parsed() if found is None]

    def find(self, prefix: str) -> Record:
        """The record whose digest or fingerprint starts with the prefix.

        Raises:
            FaqError: no record or several records match.
        """
        known = [r for r in self.all() if r.digest.startswith(prefix) or r.fingerprint.startswith(prefix)]
        if len(known) != 1 or not prefix:
            what = f"{len(known)} published checkpoints have" if known else "no published checkpoint has"
            raise FaqError(
                f"{what} a fingerprint or digest that starts with {prefix!r}", hint="see: faq published"
            )
        return known[0]

    def add(self, record: Record, event: Event) -> Record:
        """Append an event, write the record to disk and return it. The caller holds the lock."""
        updated = record.model_copy(update={"events": (*record.events, event)})
        write_atomic(self._path(record.digest), updated.model_dump_json(indent=1, exclude_none=True) + "\n")
        return updated

    def _path(self, digest: str) -> Path:
        return self.folder / f"{digest}.json"

    def _parsed(self) -> Iterator[tuple[Path, Record | None]]:
        with reading_file(self.folder):
            paths = listing(self.folder, ".json")
        for path in paths:
            try:
                found: Record | None = _parsed(path)
            except ABSENT:
                continue
            except ValueError:
                found = None
            yield path, found


def now() -> str:
    """The current time in UTC, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def somebody() -> str:
    """The current user's name, or the user id if the system has no name for it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _parsed(path: Path) -> Record:
    with reading_file(path):
        text = path.read_text(encoding="utf-8")
    return Record.model_validate_json(text)
