"""Packs samples into rows of uniform length without splitting any sample."""

from __future__ import annotations

from collections.abc import Sequence


def pack(sizes: Sequence[int], length: int) -> list[list[int]]:
    """Rows of at most `length` tokens, as lists of indices into `sizes`.

    Best-fit decreasing: the longest sample first, each into the fullest row that has room. Within a
    row, and among rows by their first sample, the order of `sizes` is kept.

    Raises:
        ValueError: a sample is longer than a row.
    """
    rows: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        if sizes[index] > length:
            raise ValueError(f"sample {index} has {sizes[index]} tokens, a row {length}")
        fitting = [row for row in range(len(rows)) if room[row] >= sizes[index]]
        if fitting:
            row = min(fitting, key=lambda r: (room[r], r))
        else:
            row = len(rows)
            rows.append([])
            room.append(length)
        rows[row].append(index)
        room[row] -= sizes[index]
    return sorted(sorted(row) for row in rows)
