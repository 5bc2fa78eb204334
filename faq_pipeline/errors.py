"""The one exception a user's mistake becomes. Bugs stay ordinary exceptions, with their traceback."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from faq_pipeline.util.files import ABSENT
from faq_pipeline.util.secrets import redacted


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
        self.problem, self.hint = _printable(problem), _printable(hint)
        self.file, self.line, self.key = file, line, key
        self.where = "" if file is None else f"{file}:{line}: " if line is not None else f"{file}: "
        self.where = _printable(self.where)
        super().__init__(self.where + self.problem + (f" ({self.hint})" if hint else ""))


def _printable(text: str) -> str:
    """The text without secrets, and without the halves of characters that a file's name may hold."""
    return redacted(text).encode("utf-8", "backslashreplace").decode()


class MissingUpstreamError(FaqError):
    """A stage was asked for whose input has not been made yet."""


class ReadError(FaqError, OSError):
    """Something may be there and cannot be read now. It is neither absent nor damaged, and stays."""

    @classmethod
    def of(cls, error: OSError, path: Path) -> ReadError:
        """What the system said of a file or folder, as one line."""
        hint = _READ_HINTS.get(error.errno or 0, "nothing was changed; run again once it can be read")
        found = cls(f"cannot be read: {error.strerror or error}", hint=hint, file=path)
        found.errno = error.errno
        return found

    def __str__(self) -> str:
        return str(self.args[0])


@contextmanager
def reading_file(path: Path) -> Iterator[None]:
    """Make a `ReadError` of what the system says, except that nothing is there.

    Raises:
        FileNotFoundError, NotADirectoryError: nothing is there.
        ReadError: any other error of the system.
    """
    try:
        yield
    except (*ABSENT, ReadError):
        raise
    except OSError as error:
        raise ReadError.of(error, path) from error


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
