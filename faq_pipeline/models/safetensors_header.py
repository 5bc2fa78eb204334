"""What a safetensors file says of its tensors; no weight is read, and no library loaded."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path

from faq_pipeline.errors import FaqError, reading_file


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies in its file (bytes from the file's start), its dtype and number of elements."""

    dtype: str
    count: int
    start: int
    end: int


def read_header(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a safetensors file by name, once the file's size agrees with its header.

    Raises:
        FaqError: the file is cut, or its header is of another form; a `ReadError` where it cannot be read.
    """
    try:
        with reading_file(path), path.open("rb") as file:
            size = path.stat().st_size
            (length,) = struct.unpack("<Q", file.read(8))
            if length > size:
                raise ValueError
            header = json.loads(file.read(length))
        begin = 8 + length
        tensors = {
            name: StoredTensor(
                str(entry["dtype"]),
                math.prod(int(side) for side in entry["shape"]),
                begin + entry["data_offsets"][0],
                begin + entry["data_offsets"][1],
            )
            for name, entry in header.items()
            if name != "__metadata__"
        }
        if max((tensor.end for tensor in tensors.values()), default=begin) != size:
            raise ValueError
        if not all(begin <= tensor.start <= tensor.end for tensor in tensors.values()):
            raise ValueError
        return tensors
    except (struct.error, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise FaqError(
            "corrupt safetensors file (its size does not fit its header)",
            hint="copy or download it again",
            file=path,
        ) from None
