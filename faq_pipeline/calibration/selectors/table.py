"""A float table on disk, for data whose size grows with the corpus."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

CHUNK_BYTES = 2**24
"""Most that is read at once."""


class Table:
    """Rows of `columns` float32 each, in a file without a name that goes with this object."""

    def __init__(self, folder: Path, columns: int) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (open as long as this is)
        self._columns, self._stride = columns, 4 * columns

    def write(self, rows: Sequence[int], values: Floats) -> None:
        """Write rows, in any order; shape (rows, columns)."""
        for row, line in zip(rows, np.ascontiguousarray(values, dtype=np.float32), strict=True):
            os.pwrite(self._file.fileno(), line.tobytes(), row * self._stride)

    def read(self, rows: Sequence[int]) -> Floats:
        """Rows that were written, shape (rows, columns)."""
        parts = [os.pread(self._file.fileno(), self._stride, row * self._stride) for row in rows]
        return np.frombuffer(bytearray().join(parts), dtype=np.float32).reshape(len(rows), self._columns)

    def chunks(self, rows: Sequence[int]) -> Iterator[Sequence[int]]:
        """The rows in parts that may be read at once."""
        most = max(1, CHUNK_BYTES // self._stride)
        return (rows[i : i + most] for i in range(0, len(rows), most))
