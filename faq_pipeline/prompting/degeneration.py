"""Detects degenerate text: empty or looping."""

from __future__ import annotations

import numpy as np

REPEATS = 4
"""A unit said this often in a row, or more, is a loop ..."""
SHORTEST = 64
"""... if together it is at least this many characters (`ha ha ha ha` is not)."""
LONGEST_UNIT = 400
"""Characters of the longest unit that is looked for."""


def is_empty(text: str) -> bool:
    """Whether there is nothing but white space."""
    return not text.strip()


def is_looping(text: str) -> bool:
    """Whether some unit is repeated literally, back to back, `REPEATS` times and `SHORTEST` characters.

    The unit (up to `LONGEST_UNIT` characters) holds a letter or digit, so that rules of dashes and
    runs of spaces are no loops. Runs of white space count as one space. Not found: loops whose
    rounds differ (a counter that goes on), and longer units.
    """
    joined = " ".join(text.split())
    letters = np.array([ord(c) for c in joined], dtype=np.uint32)
    for unit in range(1, min(LONGEST_UNIT, len(letters) // REPEATS) + 1):
        # The text agrees with itself, shifted by one unit, for all rounds but the first.
        start, length = _longest_run(letters[unit:] == letters[:-unit])
        enough = length + unit >= max(REPEATS * unit, SHORTEST)
        if enough and any(c.isalnum() for c in joined[start : start + unit]):
            return True
    return False


def _longest_run(flags: np.ndarray) -> tuple[int, int]:
    """Start and length of the longest run of true values."""
    breaks = np.concatenate(([-1], np.flatnonzero(~flags), [len(flags)]))
    lengths = np.diff(breaks) - 1
    longest = int(lengths.argmax())
    return int(breaks[longest]) + 1, int(lengths[longest])
