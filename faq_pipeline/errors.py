"""The one exception a user's mistake becomes. Bugs stay ordinary exceptions, with their traceback."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from faq_pipeline.util.files import ABSENT


class FaqError(Exception):
    """Bad input: one line that names where it is, what is wrong and how to fix it.

    The CLI prints it without a traceback and exits with 2.
    """

    def __init__(
        self,
        problem: str,
        *,
        hint: str = "",
        file: Path | str | None = None,
        line: int | None = None,
        key: str = "",
    ) -> None:
        """
        Args:
            key: the recipe's key whose value is at fault, as `quantization.scheme`; who knows the
                recipe's files adds file and line, see `Catalog.attach_location`.
        """
        self.problem, self.hint, self.file, self.line, self.key = problem, hint, file, line, key
        self.where = "" if file is None else f"{file}:{line}: " if line is not None else f"{file}: "
        super().__init__(self.where + problem + (f" ({hint})" if hint else ""))


class MissingUpstreamError(FaqError):
    """A stage was asked for whose input has not been made yet."""


class ReadError(FaqError):
    """Something may be there and cannot be read now. It is neither absent nor damaged, and stays."""


@contextmanager
def reading_file(path: Path) -> Iterator[None]:
    """Make a `ReadError` of what the system says, except that nothing is there.

    Raises:
        FileNotFoundError, NotADirectoryError: nothing is there.
        ReadError: any other error of the system.
    """
    try:
        yield
    except ABSENT:
        raise
    except OSError as error:
        raise read_error(error, path) from error


def read_error(error: OSError, path: Path) -> ReadError:
    """The error of a file or folder that cannot be read."""
    code = error.errno or 0
    return ReadError(
        f"cannot be read: {error.strerror or error}",
        hint=_READ_HINTS.get(code, "nothing was changed; run again once it can be read"),
        file=path,
    )


_READ_HINTS = {
    errno.EACCES: "let this user read it, and run again",
    errno.EPERM: "let this user read it, and run again",
    errno.EMFILE: "raise the limit of open files (ulimit -n), and run again",
}


def nearest_or_known(name: str, known: Collection[str], what: str = "known") -> str:
    """The hint for an unknown name: the nearest of the known ones, or all where none is near."""
    return _nearest(name, known) or f"{what}: {', '.join(sorted(known)) or 'none'}"


def nearest_and_known(name: str, known: Collection[str]) -> str:
    """The hint for an unknown name of a few: the nearest if one is near, and all, in their order."""
    return " ".join(filter(None, (_nearest(name, known), f"known: {', '.join(known)}")))


def _nearest(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else ""
