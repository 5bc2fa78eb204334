"""Folders that hold a copy of a checkpoint, and say of which: `faq quantize` writes a mark into its own."""

from __future__ import annotations

import json
from pathlib import Path

from faq_pipeline.core import stage_names
from faq_pipeline.errors import FaqError, reading_file
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.store import Store
from faq_pipeline.util.files import ABSENT

MARK = "faq.json"
"""File of such a folder."""


def write_mark(folder: Path, partition: str, checkpoint: Artifact) -> None:
    """Say in a folder which checkpoint it holds.

    Args:
        partition: `member|recipe` of the cell that it was made for.
    """
    mark = {"cell": partition, "fingerprint": checkpoint.fingerprint, "digest": checkpoint.digest}
    (folder / MARK).write_text(json.dumps(mark, indent=1) + "\n", encoding="utf-8")


def read_mark(folder: Path) -> str | None:
    """The fingerprint of the checkpoint that a folder holds a copy of; None where it has no mark of ours.

    Raises:
        FaqError: the mark cannot be read.
    """
    try:
        with reading_file(folder / MARK):
            content = json.loads((folder / MARK).read_text(encoding="utf-8"))
        return str(content["fingerprint"]) or None
    except (*ABSENT, ValueError, KeyError, TypeError):
        return None


def fingerprint_in(folder: Path, store: Store) -> str:
    """The fingerprint of the artifact in a folder: a checkpoint's with a mark, or one of the store itself.

    Raises:
        FaqError: it is neither.
    """
    place = folder.resolve()
    for name in (stage_names.QUANTIZED_CHECKPOINT, stage_names.CALIBRATION_SET):
        stage = (store.root / name).resolve()
        if stage in place.parents:
            return place.relative_to(stage).parts[0]
    fingerprint = read_mark(folder)
    if fingerprint is None:
        raise FaqError(
            f"`faq quantize` did not make this folder: it has no {MARK}",
            hint="name a folder that it made, a fingerprint (faq cache ls), or member|recipe",
            file=folder,
        )
    return fingerprint
