"""The sample ledger: finished samples are on disk before they count, and are never sampled twice.

One folder holds the samples of one engine configuration (model revision, engine, sampling, template),
whatever corpus they were made for: a recipe with more seeds or candidates finds those that are there.
A sample's key is a hash of its request and its unit's salt; it does not depend on any order. Each
process appends to a segment of its own, so a torn line can only be a segment's last one.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from faq_pipeline.errors import reading_file
from faq_pipeline.inference.engine import Completion, Request, Unit
from faq_pipeline.store.fingerprint import short_hash
from faq_pipeline.util.atomic_files import fsync_path, make_folder, share_with_group
from faq_pipeline.util.files import listing

SYNC_EVERY = 0.2
"""Seconds: a killed process loses nothing that was recorded, a machine that loses power this much."""


@dataclass(frozen=True)
class Entry:
    """A recorded sample, and the seconds of engine time that it took its share of."""

    completion: Completion
    seconds: float


def sample_key(request: Request, salt: str) -> str:
    """The key of a request's sample within one engine configuration."""
    return short_hash(json.dumps([request.id, request.prompt, request.seed, salt]).encode())


class Ledger:
    """Recorded samples of one engine configuration. A context manager where samples are added."""

    def __init__(self, root: Path, configuration: Mapping[str, Any]) -> None:
        canonical = json.dumps(configuration, sort_keys=True)
        self.folder = root / short_hash(canonical.encode())
        self._file: BinaryIO | None = None
        self._recorded = self._synced = 0.0

    def finished(self, units: Iterable[Unit]) -> dict[str, Entry]:
        """Samples of the units that are complete here, by request id.

        A unit that lacks one of its samples is left out whole: it can only be sampled as a whole.
        """
        entries = self._entries()
        found: dict[str, Entry] = {}
        for unit in units:
            keys = {request.id: sample_key(request, unit.salt) for request in unit.requests}
            if all(key in entries for key in keys.values()):
                found.update((name, entries[key]) for name, key in keys.items())
        return found

    def record(self, unit: Unit, completions: Mapping[str, Completion]) -> dict[str, Entry]:
        """Write the samples of a finished unit, in one go; by request id. Failed ones are not kept."""
        if self._file is None:
            raise RuntimeError("the ledger takes samples only inside its 'with' block")
        now = time.perf_counter()
        share = round((now - self._recorded) / len(unit.requests), 6)
        self._recorded = now
        entries = {request.id: Entry(completions[request.id], share) for request in unit.requests}
        lines = "".join(
            json.dumps({"key": sample_key(request, unit.salt), **asdict(entries[request.id])}) + "\n"
            for request in unit.requests
            if completions[request.id].finish != "error"
        )
        self._file.write(lines.encode())
        self._file.flush()
        if now - self._synced > SYNC_EVERY:
            os.fsync(self._file.fileno())
            self._synced = now
        return entries

    def __enter__(self) -> Self:
        segment = make_folder(self.folder) / f"{uuid.uuid4().hex}.jsonl"
        self._file = segment.open("xb")
        share_with_group(segment)
        fsync_path(self.folder)
        self._recorded = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        file, self._file = self._file, None
        assert file is not None
        with file:
            if error is None:
                os.fsync(file.fileno())

    def _entries(self) -> dict[str, Entry]:
        """Everything recorded, by key. Of a key recorded twice the first segment's sample counts."""
        entries: dict[str, Entry] = {}
        with reading_file(self.folder):
            segments = sorted(listing(self.folder, ".jsonl"), key=lambda path: path.stat().st_mtime_ns)
        for segment in segments:
            for line in _whole_lines(segment):
                entry = Entry(Completion(**line["completion"]), line["seconds"])
                entries.setdefault(line["key"], entry)
        return entries


def _whole_lines(segment: Path) -> Iterator[dict[str, Any]]:
    """The segment's lines; a torn last one is dropped."""
    with segment.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield json.loads(line)
