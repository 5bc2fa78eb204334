"""Plots of an artifact, inline in Dagster's metadata."""

import base64
from pathlib import Path

import dagster as dg

MOST_BYTES = 300_000
"""Larger pictures are linked, not embedded: oversized metadata is refused by Dagster's storage."""


def picture(path: Path) -> dg.MetadataValue:
    """A PNG as Markdown that the UI draws, or its path where it is too large."""
    data = path.read_bytes()
    if len(data) > MOST_BYTES:
        return dg.MetadataValue.path(str(path))
    return dg.MetadataValue.md(f"![{path.stem}](data:image/png;base64,{base64.b64encode(data).decode()})")
