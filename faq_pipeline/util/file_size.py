"""Sizes of files as people write them: `5GB`, `700 MB`, `4.5GiB`."""

from __future__ import annotations

import re

from pydantic import ByteSize, TypeAdapter

FILE_SIZE = r"^\s*\d+(?:\.\d+)?\s*(?:[kKMGT]i?)?B\s*$"
"""A size as a regular expression: a number, and a decimal (GB) or binary (GiB) unit."""
_PREFIXES = "kMGT"


def parse_size(text: str) -> int:
    """Bytes of a size.

    Raises:
        ValueError: it is not written like `FILE_SIZE`.
    """
    if re.match(FILE_SIZE, text) is None:
        raise ValueError(f"{text!r} is no size such as 5GB")
    return int(TypeAdapter(ByteSize).validate_python(text.strip()))


def written_size(count: float) -> str:
    """Bytes in the largest decimal unit of which there is one, rounded up: `4.21 GB`."""
    power = max((n for n in range(1, 5) if count >= 1000**n), default=0)
    unit = f"{_PREFIXES[power - 1]}B" if power else "B"
    value = count / 1000**power
    rounded = -(-value * 100 // 1) / 100 if power else round(value)
    return f"{rounded:g} {unit}"
