"""Published checkpoints in a directory: `<directory>/<member>/<recipe>/<digest>/`.

A checkpoint's folder appears complete or not at all and never changes; a newer one lies beside it.
The link `current` names the one that was published last and still stands.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from faq_pipeline.errors import FaqError, ReadError
from faq_pipeline.publishing.content import PublishedContent
from faq_pipeline.publishing.record import Place
from faq_pipeline.util.atomic_files import atomic_folder, link_atomic, staging_path

CURRENT = "current"


@dataclass(frozen=True)
class PublishDirectory:
    """The place of one checkpoint."""

    path: Path

    @property
    def place(self) -> Place:
        return Place(kind="directory", name=str(self.path))

    @property
    def is_current(self) -> bool:
        """Whether `current` names it."""
        link = self.path.parent / CURRENT
        return link.is_symlink() and link.readlink() == Path(self.path.name)

    def publish(self, content: PublishedContent) -> bool:
        """Put the content there, unless it lies there already, and have `current` name it.

        Returns:
            Whether it was put there now.

        Raises:
            FaqError: the directory cannot be written to.
        """
        try:
            self._sweep()
            new = not self.path.is_dir()
            if new:
                with atomic_folder(self.path) as staging:
                    content.write(staging)
            self._point(self.path.name)
        except ReadError:
            raise
        except OSError as error:
            raise self._unwritable(error) from error
        return new

    def withdraw(self, successor: str | None) -> None:
        """Take the folder away; it is gone at once, whatever happens to its files.

        Args:
            successor: digest of the checkpoint beside it that `current` is to name, if it names this one.

        Raises:
            FaqError: the directory cannot be written to.
        """
        try:
            if self.path.is_dir():
                self.path.rename(staging_path(self.path))
            if self.is_current:
                self._point(successor)
            self._sweep()
        except OSError as error:
            raise self._unwritable(error) from error

    def _point(self, digest: str | None) -> None:
        link = self.path.parent / CURRENT
        if digest is None:
            link.unlink(missing_ok=True)
            return
        link_atomic(link, digest)

    def _sweep(self) -> None:
        """Delete what a killed process left of this checkpoint; who calls holds its lock."""
        for left in self.path.parent.glob(f".{self.path.name}-*"):
            shutil.rmtree(left, ignore_errors=True)

    def _unwritable(self, error: OSError) -> FaqError:
        return FaqError(
            f"the directory of published checkpoints cannot be written to: {error.strerror or error}",
            hint="see publish.directory of the family",
            file=self.path.parent,
        )
