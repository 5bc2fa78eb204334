"""Whether a candidate's answer is the one that the seed gives."""

from __future__ import annotations

import re
from fractions import Fraction

_MARKED = re.compile(r"(?:answer|result)\s*(?:is\b\s*:?|[:=])\s*(.+)", re.IGNORECASE)
_BOXED = re.compile(r"\\boxed\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}")
_HASHES = re.compile(r"####\s*(.+)")
_NUMBER = re.compile(r"(?<![\w.])[-+\u2212]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?(?![\w]|[.:/]\d)")


def final_answer(text: str) -> str:
    r"""The final answer that a text states.

    The last of: `\boxed{...}`, `#### ...`, `answer: ...` or `answer is ...`; where there is none,
    the last line that is not empty.
    """
    marked = [m for pattern in (_BOXED, _HASHES, _MARKED) for m in pattern.finditer(text)]
    if marked:
        last = max(marked, key=lambda m: m.end(1))
        return last.group(1).strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def answers_match(text: str, expected: str) -> bool:
    """Whether the final answer of `text` equals `expected`.

    Case, white space, quotes and closing punctuation do not count. Where a number is expected,
    values are compared (`1,200` = `1200.0`), and units or words around the only number of the
    final answer do not count.
    """
    given, wanted = normalise(final_answer(text)), normalise(expected)
    if given == wanted:
        return bool(wanted)
    value = as_number(wanted)
    if value is None:
        return False
    numbers = _NUMBER.findall(given)
    return len(numbers) == 1 and as_number(numbers[0]) == value


def normalise(answer: str) -> str:
    """The answer without case, outer quotes and emphasis, closing punctuation and extra spaces."""
    spaced = " ".join(answer.casefold().split())
    return spaced.strip("*_`\"' $").rstrip(".!;,").strip("*_`\"' $")


def as_number(text: str) -> Fraction | None:
    """The value of a whole, decimal or fractional number, or None."""
    if not _NUMBER.fullmatch(text):
        return None
    top, _, bottom = text.replace(",", "").replace("\u2212", "-").partition("/")
    if bottom and int(bottom) == 0:
        return None
    return Fraction(top) / (int(bottom) if bottom else 1)
