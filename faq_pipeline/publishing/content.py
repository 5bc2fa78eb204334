"""The content of a publication: the evaluated checkpoint files, the model card, and a statement."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faq_pipeline.errors import FaqError
from faq_pipeline.quantization.stage import CHECKPOINT
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.fingerprint import file_digest

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

    def write(self, folder: Path) -> None:
        """Write all files into an empty folder.

        Files get the default mode: files in the store may be readable by their owner only.

        Raises:
            FaqError: a file of the checkpoint is missing or changed since it was committed.
            OSError: the folder cannot be written to.
        """
        for entry in self.checkpoint.manifest.files:
            path = Path(entry.path)
            if path.parts[0] != CHECKPOINT:
                continue
            copy = folder.joinpath(*path.parts[1:])
            copy.parent.mkdir(parents=True, exist_ok=True)
            source = self.checkpoint.file(entry.path)
            if source.is_file():
                shutil.copyfile(source, copy)
            if not copy.is_file() or file_digest(copy) != entry.sha256:
                raise FaqError(
                    "this file is missing or changed since it was made",
                    hint="faq cache gc --broken, and run again",
                    file=source,
                )
        (folder / CARD).write_text(self.card, encoding="utf-8")
        text = json.dumps(self.statement, indent=1, sort_keys=True, ensure_ascii=False)
        (folder / STATEMENT).write_text(text + "\n", encoding="utf-8")
