"""The forms of an export, and their folder."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from faq_pipeline.exports.calibration_files import write_messages, write_parquet, write_text
from faq_pipeline.exports.gguf_checkpoint import write_gguf
from faq_pipeline.exports.imatrix import write_imatrix
from faq_pipeline.exports.source import Source
from faq_pipeline.store.copying import check_whole, new_folder
from faq_pipeline.util.progress import Progress

Form = Literal["text", "messages", "parquet", "imatrix", "gguf"]


def export_as(source: Source, form: Form, target: Path, progress: Progress) -> list[str]:
    """Write an export to a new folder, which appears complete or not at all.

    The artifact's bytes are compared with its manifest before.

    Returns:
        What was written, and notes, as lines for the user.

    Raises:
        FaqError: the folder has files or cannot be written, the artifact is damaged, or it cannot be had
            in this form.
    """
    with new_folder(target) as staging:
        check_whole(source.checkpoint if form == "gguf" else source.calibration)
        return _write(source, form, staging, progress)


def _write(source: Source, form: Form, folder: Path, progress: Progress) -> list[str]:
    if form == "imatrix":
        return write_imatrix(source, folder, progress)
    writers = {
        "text": write_text,
        "messages": write_messages,
        "parquet": write_parquet,
        "gguf": write_gguf,
    }
    return writers[form](source, folder)
