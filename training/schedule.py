"""How far a run is, and the learning rate that belongs there."""

from __future__ import annotations

import time

FLAT = 0.30


def learning_rate(progress: float, step: int, warm_up: int, peak: float) -> float:
    """Short warm-up, flat for 30% of the run, then linear to zero.

    Args:
        progress: how far the run is, from 0 to 1.
        step: steps done; the warm-up counts those.
    """
    if step < warm_up:
        return peak * (step + 1) / warm_up
    if progress < FLAT:
        return peak
    return peak * (1 - progress) / (1 - FLAT)


class Pace:
    """The progress of a run: by its steps, or by its time limit where that says more.

    So the rate comes down to zero within the limit at whatever speed the device goes, which
    changes while other members are trained on it; a run that is fast enough never feels the limit.
    """

    def __init__(self, steps: int, seconds: float | None) -> None:
        """`seconds` from now on is the limit; call `start` when the steps begin."""
        self._steps = steps
        self._end = None if seconds is None else time.monotonic() + seconds
        self._begun = time.monotonic()

    def start(self) -> None:
        """What came before (loading, compiling) is no progress."""
        self._begun = time.monotonic()

    def progress(self, step: int) -> float:
        """How far a run is that has done so many steps; 1 where it ends."""
        by_steps = step / self._steps
        if self._end is None:
            return min(1.0, by_steps)
        left = self._end - time.monotonic()
        if left <= 0:
            return 1.0
        return min(1.0, max(by_steps, 1 - left / (self._end - self._begun)))
