"""The one exception a user's mistake becomes. Bugs stay ordinary exceptions, with their traceback."""

from __future__ import annotations

import difflib
import errno
import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from faq_pipeline.util.files import ABSENT
from faq_pipeline.util.memory import is_out_of_memory

LONGEST = 300
"""Characters of a library's message that are shown."""


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


class ReadError(FaqError, OSError):
    """Something may be there and cannot be read now. It is neither absent nor damaged, and stays."""

    @classmethod
    def of(cls, error: OSError, path: Path) -> ReadError:
        """What the system said of a file or folder, as one line."""
        hint = _HINTS.get(error.errno or 0, "nothing was changed; run again once it can be read")
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


class library_errors:  # noqa: N801 - reads as a statement
    """Makes a FaqError, with the file and a hint, of whatever a library raises about a user's file.

    It is the one place where such errors are translated, so that no list of exceptions is needed. Wrap
    the call of the library and nothing else.

    What passes unchanged: a FaqError, interrupts, a full memory (of a GPU too), and errors of our own
    code that the library calls back: those are bugs, and need their traceback. What the system says of
    a file or disk becomes a `system_error`.
    """

    def __init__(self, problem: str, *, file: Path | str | None, hint: str = "", key: str = "") -> None:
        """
        Args:
            problem: what cannot be done; the library's words follow it.
            file: the user's file or folder that the library works on; None where there is no single one.
            key: see `FaqError`.
        """
        self.problem, self.file, self.hint, self.key = problem, file, hint, key

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, Exception) or isinstance(error, FaqError):
            return
        if is_out_of_memory(error) or _passed_our_code(trace):
            return
        if (system := as_system_error(error)) is not None:
            raise system_error(system, self.file) from error
        problem = f"{self.problem}: {first_line(error)}"
        raise FaqError(problem, hint=self.hint, file=self.file, key=self.key) from error


def first_line(error: BaseException) -> str:
    """The first line of an error's message that says something, as printable text of bounded length."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    goes_on = len(lines) > 1 and (lines[0].endswith(":") or re.fullmatch(r"line \d+", lines[1]))
    said = " ".join(lines[:2] if goes_on else lines[:1])
    if not said or isinstance(error, LookupError):  # the message of a KeyError is just the key
        said = f"{type(error).__name__}: {said}".removesuffix(": ")
    said = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in said)
    return (said if len(said) <= LONGEST else f"{said[:LONGEST]}...").rstrip(".")


def as_system_error(error: BaseException) -> OSError | None:
    """An error that reports what the system said of a file or disk, as an OSError; None for others.

    Libraries in Rust (safetensors, tokenizers) raise exceptions of their own that have it in their text.
    """
    if isinstance(error, OSError):
        return error if error.errno is not None else None
    said = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(said[1]), os.strerror(int(said[1]))) if said else None


def system_error(error: OSError, file: Path | str | None = None) -> FaqError:
    """What the system said of a file, a folder or the disk, as one line.

    Args:
        file: what was worked on, where the error itself does not name it.
    """
    if isinstance(error, FaqError):
        return error
    number = error.errno or 0
    named = error.filename if isinstance(error.filename, str | bytes | os.PathLike) else None
    where = file if named is None else Path(os.fsdecode(named))
    if number == errno.ENOENT and where is None and _working_directory_is_gone():
        return FaqError("the working directory is gone", hint="change to one that is there")
    problem = _PROBLEMS.get(number, error.strerror or str(error))
    return FaqError(problem, hint=_HINTS.get(number, ""), file=where)


def _passed_our_code(trace: TracebackType | None) -> bool:
    """Whether an error came through code of this package below the frame that caught it."""
    while trace is not None and (trace := trace.tb_next) is not None:
        if str(trace.tb_frame.f_globals.get("__name__")).startswith("faq_pipeline."):
            return True
    return False


def _working_directory_is_gone() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


_PROBLEMS = {
    errno.ENOSPC: "no space left on the disk",
    errno.EDQUOT: "no space left on the disk",
    errno.EROFS: "the file system is read-only",
    errno.EXDEV: "a rename would cross file systems",
}
_HINTS = {
    errno.EACCES: "let this user read it, and run again",
    errno.EPERM: "let this user read it, and run again",
    errno.EMFILE: "raise the limit of open files (ulimit -n), and run again",
    errno.ENOSPC: "free some (see faq cache gc) and run again: what is finished is kept",
    errno.EDQUOT: "free some (see faq cache gc) and run again: what is finished is kept",
    errno.EROFS: "use a folder that can be written to; FAQ_HOME moves the home",
    errno.EXDEV: "keep FAQ_HOME on one file system, with no mount inside it",
    errno.ENOENT: "put it back, and run again",
}


def nearest_or_known(name: str, known: Collection[str], what: str = "known") -> str:
    """The hint for an unknown name: the nearest of the known ones, or all where none is near."""
    return _did_you_mean(name, known) or f"{what}: {', '.join(sorted(known)) or 'none'}"


def nearest_and_known(name: str, known: Collection[str]) -> str:
    """The hint for an unknown name of a few: the nearest if one is near, and all, in their order."""
    return " ".join(filter(None, (_did_you_mean(name, known), f"known: {', '.join(known)}")))


def nearest(name: str, known: Collection[str]) -> str:
    """The nearest of the known names; "" if none is near."""
    near = difflib.get_close_matches(name, known, n=1)
    return near[0] if near else ""


def _did_you_mean(name: str, known: Collection[str]) -> str:
    near = nearest(name, known)
    return f"did you mean {near!r}?" if near else ""
