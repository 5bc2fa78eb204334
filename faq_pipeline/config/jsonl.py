"""JSONL files of the user's: objects with their lines, and rows checked against a model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from faq_pipeline.config.yaml import explain
from faq_pipeline.errors import FaqError

Row = TypeVar("Row", bound=BaseModel)


def read_jsonl(path: Path, model: type[Row]) -> Iterator[tuple[int, Row]]:
    """The rows of a JSONL file, each with its 1-based line; blank lines are passed over.

    Raises:
        FaqError: the file is missing, empty or not UTF-8, or a line is no JSON object or does not
            fit `model`; names file, line and hint.
    """
    empty = True
    for line, content in _objects(path):
        empty = False
        try:
            yield line, model.model_validate(content, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            problem, hint = explain(first, tuple(first["loc"]), model)
            raise FaqError(problem, hint=hint, file=path, line=line) from None
    if empty:
        raise FaqError("the file is empty", hint="one JSON object a line", file=path, line=1)


def line_of(path: Path, row_id: str) -> int | None:
    """The line of the row with that id, looked up again for an error message; None if it is gone."""
    return next((line for line, content in _objects(path) if content.get("id") == row_id), None)


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    if not path.is_file():
        raise FaqError("no such file", hint="a path is relative to the YAML that names it", file=path)
    with path.open("rb") as file:
        for line, raw in enumerate(file, start=1):
            if raw.strip():
                yield line, _object(raw, path, line)


def _object(raw: bytes, path: Path, line: int) -> dict[str, Any]:
    try:
        content = json.loads(raw.decode("utf-8-sig" if line == 1 else "utf-8"))
    except UnicodeDecodeError:
        raise FaqError("not UTF-8 text", hint="save it as UTF-8", file=path, line=line) from None
    except ValueError as error:
        reason = getattr(error, "msg", str(error))
        raise FaqError(
            f"not valid JSON: {reason}", hint="one complete JSON object a line", file=path, line=line
        ) from None
    if not isinstance(content, dict):
        raise FaqError("expected a JSON object", hint='{"id": ..., ...}', file=path, line=line)
    return content
