"""Paths in YAML: relative ones start at the folder of the file in which they are written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, SerializationInfo, ValidationInfo

FOLDER = "folder"
"""Key of the validation context: the folder of relative paths whose file is not known."""
NAMES_ONLY = "names_only"
"""Key of the serialization context: true where JSON shall hold a path's last part alone."""


class FileText(str):
    """A string that knows the folder of the YAML file in which it is written.

    A recipe is merged from several files before it is validated, so the folder travels with the
    value. Fields of type `str` hold ordinary strings after validation.
    """

    folder: Path | None = None

    @classmethod
    def of(cls, text: str, folder: Path) -> FileText:
        """The text, written in a file of that folder."""
        made = cls(text)
        made.folder = folder
        return made


def _absolute(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, str):
        return value
    folder = value.folder if isinstance(value, FileText) else (info.context or {}).get(FOLDER)
    expanded = os.path.expanduser(value)  # noqa: PTH111 - Path's may raise
    if folder is None:
        return expanded
    try:
        return str((folder / expanded).resolve())
    except (OSError, RuntimeError) as error:  # links in a circle
        raise ValueError(f"not a path: {error}") from None


def _as_json(path: Path, info: SerializationInfo) -> str:
    return path.name if (info.context or {}).get(NAMES_ONLY) else str(path)


ConfigPath = Annotated[
    Path, BeforeValidator(_absolute), PlainSerializer(_as_json, return_type=str, when_used="json")
]
"""A path of a family or a recipe, absolute after validation. `~` is the user's home.

A string from a file is resolved against that file's folder, any other one against the folder in the
validation context; without either it stays relative to the working directory.
"""
