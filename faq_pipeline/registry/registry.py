"""The members found by discovery, kept in one file per installation.

The file is replaced atomically under a lock. A missing file is an empty registry. A broken file is an
error, not an empty registry: without its members, partitions would lose their meaning and teachers
would change silently.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path

from pydantic import Field, PositiveInt, ValidationError

from faq_pipeline.config.yaml import Strict
from faq_pipeline.errors import FaqError, ReadError, reading_file
from faq_pipeline.util.atomic_files import write_atomic
from faq_pipeline.util.files import ABSENT
from faq_pipeline.util.locks import LockTimeoutError, ProcessLock

PATIENCE = 30.0
"""Seconds that one writer waits for another."""


class Revision(Strict):
    """A member at one commit, as seen when the commit first appeared."""

    commit: str = Field(pattern=r"^[0-9a-f]{8,}$")
    """Of the hub, or the digest of a folder's weights."""
    seen: str
    """When, in UTC."""
    parameters: PositiveInt
    licence: str = "unknown"
    release: PositiveInt | None = None
    """Number among all releases of the installation; None for what a family file named already."""


class Registered(Strict):
    """A member with its history."""

    name: str
    revisions: tuple[Revision, ...] = Field(min_length=1)
    """In the order in which they were seen."""
    current: str
    """The commit that its source shows now, or showed last."""
    withdrawn: str | None = None
    """When its source was found to have it no more."""

    def revision(self, commit: str) -> Revision | None:
        """The revision of that commit, if it was ever seen."""
        return next((one for one in self.revisions if one.commit == commit), None)

    @property
    def now(self) -> Revision:
        """The current revision."""
        return next(one for one in self.revisions if one.commit == self.current)


class Registry(Strict):
    """Members by family and source (`owner/name`, or the path of a folder)."""

    id: str = ""
    """Made with the file; a number of a release means nothing under another id."""
    releases: int = 0
    """Numbers given so far."""
    families: dict[str, dict[str, Registered]] = {}

    def of(self, family: str) -> dict[str, Registered]:
        """The members of one family."""
        return self.families.get(family, {})


def load(path: Path) -> Registry:
    """The current registry; an empty one if there is no file.

    Raises:
        FaqError: the file is broken, or cannot be read now.
    """
    try:
        with reading_file(path):
            text = path.read_text(encoding="utf-8")
        content = json.loads(text)
        registry = Registry.model_validate(content)
        for members in registry.families.values():
            for source, member in members.items():
                if member.revision(member.current) is None:
                    raise ValueError(f"the current revision of {source} is not among its revisions")
    except ABSENT:
        return Registry()
    except (ValueError, RecursionError) as error:
        first = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise FaqError(
            f"broken registry of discovered members: {first.splitlines()[0]}",
            hint="put a copy back, or remove it: discovery then starts anew",
            file=path,
        ) from None
    return registry


def update(path: Path, change: Callable[[Registry], Registry]) -> Registry:
    """Replace the registry by `change(registry)`; one writer at a time.

    Raises:
        FaqError: the file is broken or cannot be written, or another writer does not finish.
    """
    try:
        with ProcessLock(path.with_suffix(".lock"), timeout=PATIENCE):
            before = load(path)
            after = change(before)
            if after != before:
                after = after.model_copy(update={"id": after.id or uuid.uuid4().hex[:8]})
                write_atomic(path, json.dumps(after.model_dump(exclude_none=True), indent=1))
            return after
    except LockTimeoutError:
        raise FaqError("another process is writing the registry of members", file=path) from None
    except ReadError:
        raise
    except OSError as error:
        raise FaqError(f"cannot be written: {error.strerror}", file=path) from error
