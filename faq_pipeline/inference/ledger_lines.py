"""The lines of a sample ledger: one finished sample each, with a checksum.

A line is an object of `checked_json`: no changed line is taken for a sample. Segments of earlier versions
have no checksums, and another kind of name; of their lines the form is checked as strictly as can be, and
a change of the text that leaves the form whole is not found.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import BaseModel, ConfigDict

from faq_pipeline.errors import reading_file
from faq_pipeline.inference.engine import Completion
from faq_pipeline.store import checked_json
from faq_pipeline.util.files import ABSENT

SUFFIX = ".checked.jsonl"
"""Of segments whose lines all have a checksum. Earlier versions read them too, and ignore it."""
LONGEST = 1 << 25
"""Bytes of the longest line that is looked at: a sample of a million tokens is shorter."""


@dataclass(frozen=True)
class Entry:
    """A recorded sample, and the seconds of engine time that it took its share of."""

    completion: Completion
    seconds: float


class _Line(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    key: str
    completion: Completion
    seconds: float


def written(key: str, entry: Entry) -> bytes:
    """The line of a sample, with its checksum and a line feed."""
    return checked_json.written(_content(key, entry))


def read_lines(segment: Path) -> Iterator[tuple[str, Entry] | None]:
    """The key and the sample of each line of a segment; None for a damaged one.

    A last line without its end counts as damaged, unless its checksum says that it is whole.

    Raises:
        ReadError: the segment cannot be read now.
    """
    checked = segment.name.endswith(SUFFIX)
    try:
        with reading_file(segment), segment.open("rb") as file:
            for line in _lines(file):
                try:
                    yield _parsed(line, checked)
                except ValueError:
                    yield None
    except ABSENT:
        return  # deleted since it was listed


def _content(key: str, entry: Entry) -> dict[str, Any]:
    return {"key": key, **asdict(entry)}


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines with their ends; of one that is longer than any sample only the beginning."""
    while line := file.readline(LONGEST):
        yield line
        while len(line) == LONGEST and not line.endswith(b"\n"):
            line = file.readline(LONGEST)


def _parsed(line: bytes, checked: bool) -> tuple[str, Entry]:
    body, protected = checked_json.checked(line)
    if checked and not protected:
        raise ValueError("has no checksum")
    parsed = _Line.model_validate_json(body)
    entry = Entry(parsed.completion, parsed.seconds)
    whole = protected or line == json.dumps(_content(parsed.key, entry)).encode() + b"\n"
    if not (whole and _is_possible(entry)):
        raise ValueError("not as any version writes it")
    return parsed.key, entry


def _is_possible(entry: Entry) -> bool:
    sample = entry.completion
    return (
        sample.finish != "error"
        and sample.tokens >= 0
        and math.isfinite(entry.seconds)
        and (sample.logprob is None or math.isfinite(sample.logprob))
    )
