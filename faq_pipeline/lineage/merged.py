"""What was merged last: a small file beside the index, for the next merge.

It says in which state the index was left and what the store looked like. An index in another state may
be damaged, or another program's work; the file's absence costs the next merge a look at everything.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from faq_pipeline.lineage.snapshot import Snapshot, State
from faq_pipeline.store.fingerprint import file_state, short_hash, wait_for_tick
from faq_pipeline.util.atomic_files import write_atomic
from faq_pipeline.util.files import stat_or_none


@dataclass(frozen=True)
class Merged:
    """What the last merge left.

    Attributes:
        index: the state of the index's file.
        snapshot: of the store.
        problems: whether an artifact could not be read, which must be tried again.
    """

    index: State
    snapshot: Snapshot
    problems: bool


def remember(path: Path, snapshot: Snapshot, problems: bool) -> None:
    """Note that the index at `path` is up to what the snapshot shows."""
    state = file_state(path.stat())
    wait_for_tick(state)  # damage that follows within the same tick would not show
    body = json.dumps(asdict(Merged(state, snapshot, problems)))
    with suppress(OSError):  # it only saves time
        write_atomic(_file(path), f"{short_hash(body.encode())} {body}\n")


def recall(path: Path, root: Path) -> Merged | None:
    """What is remembered of the index at `path` for the store at `root`.

    Returns:
        None where nothing is, or the index is not as it was left.
    """
    state = stat_or_none(path)
    if state is None or any(path.parent.glob(f"{path.name}.wal*")):
        return None
    try:
        checksum, _, body = _file(path).read_bytes().rstrip(b"\n").partition(b" ")
        if checksum.decode() != short_hash(body):
            return None
        merged = _MERGED.validate_json(body)
    except (OSError, ValueError):
        return None
    return merged if merged.index == file_state(state) and merged.snapshot.root == str(root) else None


def forget(path: Path) -> None:
    """Let the next merge look at everything, the index's every block too."""
    with suppress(OSError):
        _file(path).unlink(missing_ok=True)


def _file(path: Path) -> Path:
    return path.with_name(f".{path.name}.merged")


_MERGED = TypeAdapter(Merged)
