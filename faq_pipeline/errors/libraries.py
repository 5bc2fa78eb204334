"""The border to other libraries: what they raise about a user's file, as one line."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from faq_pipeline.errors.faq_error import FaqError
from faq_pipeline.errors.system import as_system_error, system_error
from faq_pipeline.util.memory import is_out_of_memory

LONGEST = 300
"""Characters of a library's message that are shown."""


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
    text = str(error)
    if isinstance(error, KeyError) and len(error.args) == 1 and " " in str(error.args[0]):
        text = str(error.args[0])  # of a KeyError, `str` is the repr of what it was raised with
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = " ".join(lines[:2] if lines and lines[0].endswith(":") else lines[:1]).rstrip(".")
    if isinstance(number := getattr(error, "lineno", None), int) and f"line {number}" not in said:
        said = f"{said}, in line {number}"
    if not said or " " not in said:  # as of a KeyError, which has the key alone
        said = f"{type(error).__name__}: {said}".removesuffix(": ")
    said = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in said)
    return said if len(said) <= LONGEST else f"{said[:LONGEST]}..."


def _passed_our_code(trace: TracebackType | None) -> bool:
    """Whether an error came through code of this package below the frame that caught it."""
    while trace is not None and (trace := trace.tb_next) is not None:
        if str(trace.tb_frame.f_globals.get("__name__")).startswith("faq_pipeline."):
            return True
    return False
