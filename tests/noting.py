"""A listener that keeps what it is told."""

from __future__ import annotations

from faq_pipeline.util.progress import SilentProgress


class Noting(SilentProgress):
    """Keeps notes alone."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)
