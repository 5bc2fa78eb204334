"""What was published where, by whom, and what was withdrawn why: one file for each checkpoint digest.

A record only grows: each publication, withdrawal and removal is an event in it. Whoever publishes or
withdraws a checkpoint holds the lock of its digest meanwhile.
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
    """One thing that happened to a checkpoint.

    Attributes:
        cell: `name@rev8|recipe` that it was published for.
        place: None for `withdrawn`, which holds everywhere; `removed` says where it was carried out.
        commit: of the repository, where there is one.
        run: of Dagster, where one published it.
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
    """All that happened to one checkpoint, oldest first."""

    model_config = ConfigDict(frozen=True)
    digest: str
    fingerprint: str
    events: tuple[Event, ...] = ()

    @property
    def withdrawal(self) -> Event | None:
        """The withdrawal that stands: nothing was published on demand after it."""
        decisive = [event for event in self.events if event.what != "removed"]
        return decisive[-1] if decisive and decisive[-1].what == "withdrawn" else None

    def latest(self, place: Place) -> Event | None:
        """What happened at a place last."""
        return next((event for event in reversed(self.events) if event.place == place), None)

    def at(self, place: Place) -> Event | None:
        """Its publication at a place, if it was not removed from there since."""
        event = self.latest(place)
        return event if event is not None and event.what == "published" else None

    def places(self) -> list[Place]:
        """Where it was ever published."""
        return list(dict.fromkeys(event.place for event in self.events if event.place is not None))

    def standing(self) -> list[Place]:
        """Where it is published and was not removed."""
        return [place for place in self.places() if self.at(place) is not None]


@dataclass(frozen=True)
class Records:
    """The records of one installation, in files `<digest>.json`."""

    folder: Path

    @contextmanager
    def locked(self, digest: str) -> Iterator[None]:
        """Nobody else publishes or withdraws the checkpoint meanwhile; the lock dies with its holder."""
        with ProcessLock(self.folder / ".locks" / f"{digest}.lock"):
            yield

    def read(self, digest: str, fingerprint: str) -> Record:
        """The record of a checkpoint; an empty one where nothing happened yet.

        Raises:
            FaqError: there is one that is damaged or cannot be read now: it may hold a withdrawal.
        """
        path = self._path(digest)
        try:
            return _parsed(path)
        except ABSENT:
            return Record(digest=digest, fingerprint=fingerprint)
        except ValueError:
            raise FaqError(
                "this record of publications cannot be read",
                hint="restore it, or delete it if the checkpoint was never withdrawn",
                file=path,
            ) from None

    def all(self) -> list[Record]:
        """All records that are not damaged.

        Raises:
            ReadError: one cannot be read now.
        """
        return [found for _, found in self._parsed() if found is not None]

    def broken(self) -> list[Path]:
        """Files that are damaged.

        Raises:
            ReadError: one cannot be read now.
        """
        return [path for path, found in self._parsed() if found is None]

    def find(self, prefix: str) -> Record:
        """The record whose digest or fingerprint starts so.

        Raises:
            FaqError: none or several do.
        """
        known = [r for r in self.all() if r.digest.startswith(prefix) or r.fingerprint.startswith(prefix)]
        if len(known) != 1 or not prefix:
            what = f"{len(known)} published checkpoints have" if known else "no published checkpoint has"
            raise FaqError(
                f"{what} a fingerprint or digest that starts with {prefix!r}", hint="see: faq published"
            )
        return known[0]

    def add(self, record: Record, event: Event) -> Record:
        """The record with one event more, on disk before this returns. Call with the lock held."""
        grown = record.model_copy(update={"events": (*record.events, event)})
        write_atomic(self._path(record.digest), grown.model_dump_json(indent=1, exclude_none=True) + "\n")
        return grown

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
    """The time of an event, UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def somebody() -> str:
    """Who publishes: the user's name, or number where the system has no name for it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _parsed(path: Path) -> Record:
    with reading_file(path):
        text = path.read_text(encoding="utf-8")
    return Record.model_validate_json(text)
