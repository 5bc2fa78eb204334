"""Acquires GPUs: as many as requested, waiting for those that others hold."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from faq_pipeline.errors import FaqError
from faq_pipeline.gpu.lease_folder import VARIABLE, lease_folder, not_writable
from faq_pipeline.models import gpus
from faq_pipeline.models.gpus import Gpu
from faq_pipeline.util.lock_holder import Holder, forget
from faq_pipeline.util.progress import Progress

PAUSE = 0.1
"""Seconds between two looks at GPUs that others hold."""
TELL = 60.0
"""Seconds after which one who still waits tells again for whom."""
SIGN = 1.0
"""Seconds within which one who has taken a GPU has written who it is."""
GONE = 60.0
"""Longest wait, in seconds, until a killed holder's GPU memory is free; its server stops within 20 s."""
CONTEXTS = 2 * 2**30
"""Tolerance in bytes when comparing free memory: each process on a GPU keeps 0.7 GiB until it exits."""


class Lease:
    """A lease on `count` of some GPUs, between `__enter__` (which waits) and `__exit__`.

    Deadlock is impossible: a process that wants one GPU holds none while it waits, and several are
    taken in the order of their UUIDs, so that a process that holds some waits only for later ones.
    Nobody starves: a free GPU goes to the process at the front of its queue, and a process that gave it
    back and asks again is not at the front. Which waiting process moves to the front next is random.

    Args:
        holder: what others are told while they wait.
    """

    def __init__(self, among: Sequence[Gpu], count: int, holder: Holder, progress: Progress) -> None:
        if not 0 < count <= len(among):
            raise ValueError(f"{count} of {len(among)} GPUs")
        self._among = list(among) if count == 1 else sorted(among, key=lambda gpu: gpu.uuid)
        self._count, self._holder, self._progress = count, holder, progress
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        folder = lease_folder()
        seats = [_Seat(folder, gpu) for gpu in self._among]
        taken: list[_Seat] = []
        with ExitStack() as stack:
            while len(taken) < self._count:
                after = seats.index(taken[-1]) + 1 if taken else 0
                enough = len(seats) - (self._count - len(taken)) + 1
                seat = self._wait_for_one(seats[after:enough])
                stack.callback(seat.give_back)
                # What a killed holder had found free is still to be waited for, by whoever comes next.
                left = None if seat.killed is None else seat.killed.free
                seat.sign(self._holder.model_copy(update={"free": left}))
                taken.append(seat)
            for seat in taken:
                self._move_in(seat)
            self._stack = stack.pop_all()
        self.gpus = tuple(seat.gpu for seat in taken)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _wait_for_one(self, seats: Sequence[_Seat]) -> _Seat:
        started, last_note = time.monotonic(), None
        with ExitStack() as fronts:
            for seat in seats:
                fronts.callback(seat.leave_front)
            while True:
                for seat in seats:
                    if seat.reach_front() and seat.take():
                        return seat
                if self._must_tell(seats, started, last_note):
                    last_note = time.monotonic()
                    self._progress.note(f"waits for {' or '.join(map(str, seats))}")
                time.sleep(PAUSE)

    def _must_tell(self, seats: Sequence[_Seat], started: float, last_note: float | None) -> bool:
        """Whether to tell now for whom it waits, since `started`; it was told last at `last_note`."""
        waited = time.monotonic() - (started if last_note is None else last_note)
        if last_note is not None or waited >= TELL:
            return waited >= TELL
        holders = [seat.holder for seat in seats]
        if None in holders:  # who has just taken it signs in a moment
            return waited >= SIGN
        # Workers of one study or run take turns by design: that is told when it takes long.
        return not all(self._holder.is_sibling(holder) for holder in holders if holder)

    def _move_in(self, seat: _Seat) -> None:
        """Wait until the processes of a killed holder have left the GPU."""
        killed = seat.killed
        free = gpus.free_memory(seat.gpu) if killed is None else killed.free
        seat.sign(self._holder.model_copy(update={"free": free}))
        if killed is None or free is None:
            return
        deadline, noted = time.monotonic() + GONE, False
        while (now := gpus.free_memory(seat.gpu)) is not None and now < free - CONTEXTS:
            left = f"{(free - now) / 2**30:.1f} GiB of {seat.name}, left by {killed}"
            if time.monotonic() > deadline:
                self._progress.note(f"goes on without {left}")
                return
            if not noted:
                noted = True
                self._progress.note(f"waits for {left}")
            time.sleep(PAUSE)


class _Seat:
    """One GPU's lock, that of the place in front of it, and the file that says who holds it."""

    killed: Holder | None = None
    """Who was killed on it before it was taken."""

    def __init__(self, folder: Path, gpu: Gpu) -> None:
        self.gpu = gpu
        self._file = folder / f"{gpu.uuid}.json"
        # No soft locks, which would outlive their holder, where a file system has no real ones.
        self._lock, self._front = (
            FileLock(folder / f"{gpu.uuid}.{kind}", mode=0o666, fallback_to_soft=False)
            for kind in ("lock", "next")
        )

    @property
    def name(self) -> str:
        return f"GPU {self.gpu.number} ({self.gpu.uuid})"

    @property
    def holder(self) -> Holder | None:
        """Who holds it."""
        return Holder.read(self._file)

    def __str__(self) -> str:
        return f"{self.name}, held by {self.holder or 'somebody'}"

    def reach_front(self) -> bool:
        """Be the one who gets it next, if nobody else is."""
        return self._front.is_locked or _locked(self._front)

    def leave_front(self) -> None:
        """Let the next one of those who wait be it."""
        self._front.release()

    def take(self) -> bool:
        """Take it if nobody holds it."""
        taken = _locked(self._lock)
        if taken:
            self.killed = Holder.read(self._file)
        return taken

    def sign(self, holder: Holder) -> None:
        """Let others read who holds it."""
        with suppress(OSError):  # it is for messages: a full disk must not stop the work
            holder.write(self._file)

    def give_back(self) -> None:
        """Let the next one take it."""
        with suppress(OSError):
            forget(self._file)
        self._lock.release()


def _locked(lock: FileLock) -> bool:
    """Lock it if nobody has."""
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    except PermissionError as error:
        raise not_writable(Path(lock.lock_file)) from error
    except OSError as error:
        raise FaqError(
            f"GPU leases cannot be taken: {error.strerror}",
            hint=f"set {VARIABLE} to a folder on a local disk",
            file=lock.lock_file,
        ) from error
    return True
