"""The exception that a user's mistake becomes, and hints for unknown names."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from pathlib import Path

from faq_pipeline.util.secrets import redacted


class FaqError(Exception):
    """Bad input: one line that names where it is, what is wrong and how to fix it.

    The CLI prints it without a traceback and exits with 2.

    Attributes:
        located: whether file and line are already those that set `key`.
    """

    located = False

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
        super().__init__(self.where + self.problem + (f" ({self.hint})" if self.hint else ""))


def _printable(text: str) -> str:
    """The text without secrets, and without the halves of characters that a file's name may hold."""
    return redacted(text).encode("utf-8", "backslashreplace").decode()


class MissingUpstreamError(FaqError):
    """A stage was asked for whose input has not been made yet."""


MANY = 8
"""Names above which a hint names the nearest, and says where all are listed."""
NEAREST = 3


def nearest_of_many(name: str, known: Collection[str], listing: str) -> str:
    """The hint for an unknown name of many: the nearest few, and what lists all; of a few it names all.

    Args:
        listing: the command that lists them, or the page.
    """
    if len(known) <= MANY:
        return nearest_or_known(name, known)
    near = difflib.get_close_matches(name, known, n=NEAREST)
    return f"{f'did you mean {_either(near)}? ' if near else ''}{listing} lists all {len(known)}"


def _either(names: Sequence[str]) -> str:
    """`'a', 'b' or 'c'`."""
    *most, last = map(repr, names)
    return f"{', '.join(most)} or {last}" if most else last


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
