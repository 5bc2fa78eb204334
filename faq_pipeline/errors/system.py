"""What the system says of files, folders and disks, as one line."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faq_pipeline.errors.faq_error import FaqError
from faq_pipeline.util.files import ABSENT


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
    hint = _HINTS.get(number, "")
    if number in (errno.EACCES, errno.EPERM) and where is not None and _is_readable(Path(where)):
        hint = hint.replace("read", "write")
    return FaqError(problem, hint=hint, file=where)


def disk_error(error: Exception, home: Path | None = None) -> FaqError | None:
    """What the system said of the disk while our own code used it; None where it may be a bug.

    That a name is there, or is not, may be a bug of ours, unless the home itself is gone.
    """
    said = None if isinstance(error, FaqError) else as_system_error(error)
    if said is None or (said.errno in _OF_NAMES and (home is None or home.is_dir())):
        return None
    return system_error(said, home)


def _is_readable(path: Path) -> bool:
    """Of a file that is not there yet: whether its folder is."""
    return os.access(path if os.access(path, os.F_OK) else path.parent, os.R_OK)


def _working_directory_is_gone() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


_OF_NAMES = (errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)
_PROBLEMS = {
    errno.ENOSPC: "no space left on the disk",
    errno.EDQUOT: "no space left on the disk",
    errno.EROFS: "the file system is read-only",
    errno.EXDEV: "a rename would cross file systems",
    errno.EEXIST: "a file is where a folder is needed",
    errno.ENOTDIR: "a file is where a folder is needed",
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
    errno.EEXIST: "move it away, or name another folder",
    errno.ENOTDIR: "move it away, or name another folder",
}
