"""The sample ledger: finished samples are on disk before they count, and are never sampled twice.

One folder holds the samples of one engine configuration (model revision, engine, sampling, template),
whatever corpus they were made for: a recipe with more seeds or candidates finds those that are there.
A sample's key is a hash of its request and its unit's salt; it does not depend on any order. Each
process appends to a segment of its own, and no segment is ever changed: a damaged line is passed over
and counted, and its sample is made anew.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from faq_pipeline.errors import reading_file
from faq_pipeline.inference.engine import Completion, Request, Unit
from faq_pipeline.inference.ledger_lines import SUFFIX, Entry, read_lines, written
from faq_pipeline.store.fingerprint import short_hash
from faq_pipeline.util.atomic_files import fsync_path, make_folder, share_with_group
from faq_pipeline.util.files import ABSENT, listing

SYNC_EVERY = 0.2
"""Seconds: a killed process loses nothing that was recorded, a machine that loses power this much."""


def sample_key(request: Request, salt: str) -> str:
    """The key of a request's sample within one engine configuration."""
    return short_hash(json.dumps([request.id, request.prompt, request.seed, salt]).encode())


class Ledger:
    """Recorded samples of one engine configuration. A context manager where samples are added."""

    def __init__(self, root: Path, configuration: Mapping[str, Any]) -> None:
        canonical = json.dumps(configuration, sort_keys=True)
        self.folder = root / short_hash(canonical.encode())
        self.damaged: dict[Path, int] = {}
        """Damaged lines by segment, as `finished` last found them."""
        self._file: BinaryIO | None = None
        self._recorded = self._synced = 0.0

    def finished(self, units: Iterable[Unit]) -> dict[str, Entry]:
        """Samples of the units that are complete here, by request id.

        A unit that lacks one of its samples is left out whole: it can only be sampled as a whole.

        Raises:
            ReadError: the folder or a segment cannot be read now.
        """
        entries = self._entries()
        found: dict[str, Entry] = {}
        for unit in units:
            keys = {request.id: sample_key(request, unit.salt) for request in unit.requests}
            own = {name: entries[key] for name, key in keys.items() if key in entries}
            if all(name in own and own[name].completion.request_id == name for name in keys):
                found.update(own)
        return found

    def record(self, unit: Unit, completions: Mapping[str, Completion]) -> dict[str, Entry]:
        """Write the samples of a finished unit, in one go; by request id. Failed ones are not kept."""
        if self._file is None:
            raise RuntimeError("the ledger takes samples only inside its 'with' block")
        now = time.perf_counter()
        share = round((now - self._recorded) / len(unit.requests), 6)
        self._recorded = now
        entries = {request.id: Entry(completions[request.id], share) for request in unit.requests}
        lines = (
            written(sample_key(request, unit.salt), entries[request.id])
            for request in unit.requests
            if completions[request.id].finish != "error"
        )
        self._file.write(b"".join(lines))
        self._file.flush()
        if now - self._synced > SYNC_EVERY:
            os.fsync(self._file.fileno())
            self._synced = now
        return entries

    def __enter__(self) -> Self:
        segment = make_folder(self.folder) / f"{uuid.uuid4().hex}{SUFFIX}"
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
        self.damaged = {}
        for segment in self._segments():
            for read in read_lines(segment):
                if read is None:
                    self.damaged[segment] = self.damaged.get(segment, 0) + 1
                else:
                    entries.setdefault(*read)
        return entries

    def _segments(self) -> list[Path]:
        """The oldest first."""
        changed = {}
        with reading_file(self.folder):
            for path in listing(self.folder, ".jsonl"):
                with suppress(*ABSENT):  # deleted since it was listed
                    changed[path] = path.stat().st_mtime_ns
        return sorted(changed, key=lambda path: changed[path])
