"""Published checkpoints in a directory: `<directory>/<member>/<recipe>/<digest>/`.

A checkpoint's folder appears atomically and never changes; a newer checkpoint gets its own folder beside
it. The symbolic link `current` points to the latest published checkpoint that is not withdrawn.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from faq_pipeline.errors import FaqError
from faq_pipeline.publishing.content import PublishedContent
from faq_pipeline.publishing.record import Place
from faq_pipeline.util.atomic_files import atomic_folder, link_atomic, staging_path

CURRENT = "current"


@dataclass(frozen=True)
class PublishDirectory:
    """The folder of one published checkpoint."""

    path: Path

    @property
    def place(self) -> Place:
        return Place(kind="directory", name=str(self.path))

    @property
    def is_current(self) -> bool:
        """Whether `current` points to this folder."""
        link = self.path.parent / CURRENT
        return link.is_symlink() and link.readlink() == Path(self.path.name)

    def publish(self, content: PublishedContent) -> bool:
        """Write the content unless the folder exists already, and point `current` to it.

        Returns:
            Whether this call created the folder.

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
        except OSError as error:
            raise self._unwritable(error) from error
        return new

    def withdraw(self, successor: str | None) -> None:
        """Remove the folder. A rename takes it away at once; its files are deleted afterwards.

        Args:
            successor: digest of the checkpoint that `current` shall point to, if it points to this one.

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
        """Delete leftovers of killed processes. The caller holds the lock of this checkpoint."""
        for leftover in self.path.parent.glob(f".{self.path.name}-*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def _unwritable(self, error: OSError) -> FaqError:
        return FaqError(
            f"the directory of published checkpoints cannot be written to: {error.strerror or error}",
            hint="check publish.directory of the family",
            file=self.path.parent,
        )
