"""What the folders of a store look like, so that a merge looks only into those that changed.

A folder whose time, size and inode stay the same holds the same names. Artifacts appear in and vanish
from their stage's folder; `record_use` touches the folder of the cell and the one above it, so that
these two tell of every use below them.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from faq_pipeline.errors import reading_file
from faq_pipeline.lineage.uses import uses_folder
from faq_pipeline.store.fingerprint import TICK, file_state
from faq_pipeline.store.store import Store
from faq_pipeline.util.files import stat_or_none, subfolders

State = tuple[int, ...]
"""See `file_state`. `ABSENT` where there is no such folder, `UNSETTLED` where it changed a moment ago."""
ABSENT: State = ()
UNSETTLED: State = (-1,)
"""Equal to no state, not even to itself: another change may leave no trace in the folder's time."""
COARSE_TICK = 2_500_000_000
"""Nanoseconds, as `TICK`, of file systems that count whole seconds."""


@dataclass(frozen=True)
class Changes:
    """Where a merge must look. None: everywhere.

    Attributes:
        stages: whose folders changed.
        partitions: the cells whose uses changed.
    """

    stages: Collection[str] | None
    partitions: Collection[str] | None

    def __bool__(self) -> bool:
        return self.stages is None or self.partitions is None or bool(self.stages or self.partitions)


EVERYTHING = Changes(None, None)


@dataclass(frozen=True)
class Snapshot:
    """The states of a store's folders at one moment.

    Attributes:
        root: of the store.
        stages: by stage.
        uses: of the folder of all uses.
        partitions: of each cell's folder of uses.
    """

    root: str
    stages: Mapping[str, State]
    uses: State
    partitions: Mapping[str, State]

    @classmethod
    def take(cls, store: Store, before: Snapshot | None = None) -> Snapshot:
        """The states now. To be taken before the folders are listed.

        Waits for a tick of the file system's clock where one changed a moment ago.

        Args:
            before: an earlier one of the same store: cells are not looked at where no use was recorded
                since.

        Raises:
            ReadError: a folder cannot be read now.
        """
        now = cls._take(store, before)
        if UNSETTLED in (now.uses, *now.stages.values(), *now.partitions.values()):
            time.sleep(TICK / 1e9)
            now = cls._take(store, before)
        return now

    @classmethod
    def _take(cls, store: Store, before: Snapshot | None) -> Snapshot:
        folder = uses_folder(store)
        with reading_file(store.root):
            stages = {path.name: _state(path) for path in subfolders(store.root)}
            uses = _state(folder)
            if before is None or not _same(before.uses, uses) or UNSETTLED in before.partitions.values():
                partitions: Mapping[str, State] = {path.name: _state(path) for path in subfolders(folder)}
            else:
                partitions = before.partitions
        return cls(str(store.root), stages, uses, partitions)

    def changes(self, before: Snapshot | None) -> Changes:
        """What may have changed since an earlier one of the same store; everything where there is none."""
        if before is None:
            return EVERYTHING
        return Changes(_differing(before.stages, self.stages), _differing(before.partitions, self.partitions))


def _differing(before: Mapping[str, State], now: Mapping[str, State]) -> list[str]:
    if before is now:
        return []
    names = sorted({*before, *now})
    return [name for name in names if not _same(before.get(name, ABSENT), now.get(name, ABSENT))]


def _same(before: State, now: State) -> bool:
    return before == now != UNSETTLED


def _state(folder: Path) -> State:
    found = stat_or_none(folder)
    if found is None:
        return ABSENT
    changed = max(found.st_mtime_ns, found.st_ctime_ns)
    tick = TICK if found.st_mtime_ns % 1_000_000_000 else COARSE_TICK
    return file_state(found) if time.time_ns() - changed > tick else UNSETTLED
