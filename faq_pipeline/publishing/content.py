"""The content of a publication: the evaluated checkpoint files, the model card, and a statement."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faq_pipeline.quantization.stage import CHECKPOINT
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.copying import check_whole, copy_files

CARD, STATEMENT = "README.md", "publication.json"


@dataclass(frozen=True)
class PublishedContent:
    """A checkpoint ready to be published.

    Attributes:
        card: the text of README.md.
        statement: the content of `publication.json`: cell, verdict, and the keys of all stages.
    """

    cell: str
    checkpoint: Artifact
    card: str
    statement: dict[str, Any]

    @property
    def digest(self) -> str:
        return self.checkpoint.digest

    def check(self) -> None:
        """Refuse a checkpoint that `write` would refuse, without writing anything.

        Raises:
            FaqError: a file of the checkpoint is missing, changed since it was committed, or unreadable.
        """
        check_whole(self.checkpoint)

    def write(self, folder: Path) -> None:
        """Write all files into an empty folder.

        Raises:
            FaqError: a file of the checkpoint is missing, changed since it was committed, or unreadable.
            OSError: the folder cannot be written to.
        """
        copy_files(self.checkpoint, CHECKPOINT, folder)
        (folder / CARD).write_text(self.card, encoding="utf-8")
        text = json.dumps(self.statement, indent=1, sort_keys=True, ensure_ascii=False)
        (folder / STATEMENT).write_text(text + "\n", encoding="utf-8")
