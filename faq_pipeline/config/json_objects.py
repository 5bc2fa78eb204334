"""JSON objects in files of the user's: read, or refused in one line whatever is wrong with them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from faq_pipeline.errors import FaqError, reading_file
from faq_pipeline.util.files import ABSENT

_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


def read_object(path: Path, hint: str = "") -> dict[str, Any]:
    """The object that a file holds.

    Raises:
        FaqError: the file is missing, or see `parse_object`; a `ReadError` where it cannot be read now.
    """
    return parse_object(_bytes(path), path, hint=hint)


def read_objects(path: Path) -> list[dict[str, Any]]:
    """The objects of the list that a JSON file holds; none where it holds no list.

    Raises:
        FaqError: as `read_object`.
    """
    content = _parsed(_bytes(path), path)
    return [row for row in content if isinstance(row, dict)] if isinstance(content, list) else []


def parse_object(raw: bytes, path: Path, line: int | None = None, hint: str = "") -> dict[str, Any]:
    """The object that some bytes of a file hold.

    Args:
        line: of the file, where the bytes are one of its lines (from 1).

    Raises:
        FaqError: they are no UTF-8 text, no JSON, nested too deep, no object, or hold half of a character.
    """
    content = _parsed(raw, path, line, hint)
    if not isinstance(content, dict):
        raise FaqError("expected a JSON object", hint=hint, file=path, line=line)
    return content


def half_of_a_character(text: str) -> str:
    """The first lone surrogate of a text, as it is written in JSON; "" where there is none.

    JSON can hold half of a character of two parts (most emoji), as texts do that were cut inside of it.
    No tokenizer and no table takes it.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"\\u{ord(text[error.start]):04x}"
    return ""


def _bytes(path: Path) -> bytes:
    try:
        with reading_file(path):
            return path.read_bytes()
    except ABSENT:
        raise FaqError("no such file", file=path) from None


def _parsed(raw: bytes, path: Path, line: int | None = None, hint: str = "") -> Any:
    what = "cannot be read as JSON" if line is None else "not valid JSON"
    try:
        content = json.loads(raw.decode("utf-8" if line and line > 1 else "utf-8-sig"))
        damage = _cut_character(content) if _ESCAPE.search(raw) else ""
    except UnicodeDecodeError:
        raise FaqError("not UTF-8 text", hint="save it as UTF-8", file=path, line=line) from None
    except RecursionError:
        raise FaqError(f"{what}: nested too deep", hint="is it damaged?", file=path, line=line) from None
    except ValueError as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise FaqError(f"{what}: {reason}", hint=hint, file=path, line=line) from None
    if damage:
        hint = "the text was cut inside of it: complete it or take it out"
        raise FaqError(damage, hint=hint, file=path, line=line)
    return content


def _cut_character(content: Any) -> str:
    """Where parsed JSON holds half of a character, in words; "" where it holds none."""
    for key, value in content.items() if isinstance(content, dict) else [("", content)]:
        if half := half_of_a_character(json.dumps([key, value], ensure_ascii=False)):
            name = f"{key}: " if key and key.isprintable() else ""
            return f"{name}{half} is half of a character"
    return ""
