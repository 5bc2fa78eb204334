"""Files of a journal that a model has its weights in."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faq_pipeline.errors import FaqError
from faq_pipeline.quantization.resuming.step_files import size_and_digest


@dataclass(frozen=True)
class LentFiles:
    """What each file was when it was written.

    Where a disk fails while such a weight is read, the system ends the process (SIGBUS). Where it gives
    other bytes than were written, nobody notices: so the files are read once more in the end.
    """

    written: dict[Path, dict[str, Any]] = field(default_factory=dict)
    """As `size_and_digest` gives it."""

    def check(self) -> None:
        """Refuse what was made of a model, if a file is not as it was written.

        Files that were deleted are left out: the model still has them, and nobody else.

        Raises:
            FaqError: one differs, or cannot be read.
        """
        for path, written in self.written.items():
            try:
                problem = "" if size_and_digest(path) == written else "differs from what was written"
            except FileNotFoundError:
                continue
            except OSError as error:
                problem = f"cannot be read: {error.strerror}"
            if problem:
                hint = "check the disk; the next run makes this layer again and keeps the others"
                raise FaqError(f"a finished layer {problem}", hint=hint, file=path)
