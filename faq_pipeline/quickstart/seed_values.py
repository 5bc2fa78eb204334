"""Reads the cells of a row of prompts: a text, an answer, a word, or the reason to refuse the row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from faq_pipeline.competition.answers import as_number, normalise
from faq_pipeline.competition.quantities import only_quantity

Row = Mapping[str, Any]
MOST_WORDS = 5
"""Of a column's answer that is no number."""


class UnusableRowError(Exception):
    """Why a row becomes no seed, in a few words."""


def first_of(row: Row, names: Sequence[str], besides: str = "") -> Any:
    """The first of these columns that holds something."""
    lower = {str(key).lower(): value for key, value in row.items() if key != besides}
    return next((lower[name] for name in names if lower.get(name) not in (None, "")), None)


def required_text(value: Any, what: str) -> str:
    """A text that is not empty; `what` names its place.

    Raises:
        UnusableRowError: it is missing, empty or no text.
    """
    if not isinstance(value, str):
        raise UnusableRowError(f"{what} is missing" if value is None else f"{what} is no text")
    if not value.strip():
        raise UnusableRowError(f"{what} is empty")
    if not is_encodable(value):
        raise UnusableRowError(f"{what} holds half a character")
    return value


def is_encodable(text: str) -> bool:
    """Whether it is text: JSON can spell halves of characters, which no file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def optional_text(value: Any) -> str | None:
    """An answer, where there is one: text, or a number as text."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value) if math.isfinite(value) else None  # pandas writes NaN where there is nothing
    return value if isinstance(value, str) and value.strip() and is_encodable(value) else None


def terse_answer(value: Any, words: int = 0) -> str | None:
    """An answer that a candidate's can be compared with: a number, a quantity, or so many words in a line."""
    text = optional_text(value)
    if text is None:
        return None
    plain = normalise(text)
    if as_number(plain) is not None or only_quantity(plain) is not None:
        return text
    return text if len(text.splitlines()) == 1 and 0 < len(text.split()) <= words else None


def word(value: Any) -> str | None:
    """A text without the space around it; None for what is empty or no text."""
    text = optional_text(value) if isinstance(value, str) else None
    return text and text.strip()
