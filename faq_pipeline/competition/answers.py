"""Compares a candidate's final answer with the seed's answer, and what follows from a wrong one."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

from faq_pipeline.competition.quantities import only_quantity
from faq_pipeline.config.recipe import Recipe
from faq_pipeline.store.records import Candidate, Seed

RULES = 2
"""Version of how answers are compared and of what follows from a wrong one. It is part of the identity
of recipes that compare answers. Raise it here rather than the stage's version: that would make the scores
of all other recipes again, with their models and judges, for the same bytes."""

_MARKED = re.compile(r"(?:answer|result)\s*(?:is\b\s*:?|[:=])\s*(.+)", re.IGNORECASE)
_BOXED = re.compile(r"\\boxed\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}")
_HASHES = re.compile(r"####\s*(.+)")
_NUMBER = re.compile(r"(?<![\w.])[-+\u2212]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?(?![\w]|[.:/]\d)")

_REMARK = re.compile(r"\s+\([^()]*\)$")
_OPTION = re.compile(r"\(?([a-z])\)[.:]?(?!\s*or\b)(?:\s(?!.*\b[a-z]\)).*)?")
"""`(B)`, `B)` or `(B) Tuesday`, and no second option behind it."""
_LATEX = (
    (re.compile(r"\\[dt]?frac\s*\{\s*([^{}]*?)\s*\}\s*\{\s*([^{}]*?)\s*\}"), r"\1/\2"),
    (re.compile(r"\\[dt]?frac\s*(\d)\s*(\d)"), r"\1/\2"),
    (re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\\(?:left|right|[()\[\]])"), ""),
    (re.compile(r"\\[,;!: ]"), " "),
    (re.compile(r"\\([%$#&])"), r"\1"),
)


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

    Ignored: case, white space, quotes, closing punctuation, LaTeX markup, and a remark in brackets at
    the end. An option is compared by its letter, whatever follows `(B)`. If a number is expected, values
    are compared (`1,200` = `1200.0`), and units or words around the only number of the final answer are
    ignored. If a quantity is expected (`3 h 25 min`), its value is compared in any unit.
    """
    given, wanted = normalise(final_answer(text)), normalise(expected)
    if not wanted:
        return False
    stated = {given, _without_remark(given)}
    option = _OPTION.fullmatch(given)
    if wanted in stated or (option and option.group(1) == wanted):
        return True
    value, quantity = as_number(wanted), only_quantity(wanted)
    if value is not None:
        return any(_only_number(one) == value for one in stated)
    return quantity is not None and any(only_quantity(one) == quantity for one in stated)


def is_wrong(candidate: Candidate, seed: Seed) -> bool:
    """Whether a model wrote the candidate, the seed's answer is known, and the candidate gives another."""
    if candidate.finish == "given" or seed.answer is None or not normalise(seed.answer):
        return False
    return not answers_match(candidate.answer, seed.answer)


def answer_rules(recipe: Recipe) -> dict[str, Any]:
    """The version of these rules as a part of an identity; empty where no answer is compared.

    Seeds of a hub dataset have no answers. Of seeds in a file, answers are compared with what a model
    wrote, and with anything by expert `answer`.
    """
    compares = recipe.regeneration.generates or "answer" in recipe.competition.experts
    return {"answers": RULES} if compares and recipe.seeds.path is not None else {}


def normalise(answer: str) -> str:
    """The answer without case, LaTeX, outer brackets, quotes and emphasis, closing punctuation and
    extra spaces.

    What one removal uncovers is removed too (`"(7)."` is `7`), so normalising again changes nothing.
    """
    text = _normalise_once(answer)
    while (again := _normalise_once(text)) != text:  # each round removes something
        text = again
    return text


def _normalise_once(answer: str) -> str:
    spaced = " ".join(_plain(answer.casefold()).split())
    bare = spaced.strip("*_`\"' $").rstrip(".!;,").strip("*_`\"' $")
    return _inside_brackets(bare).strip()


def _inside_brackets(text: str) -> str:
    """What one pair of brackets encloses; the text itself where none encloses it all, or it is a list."""
    inner = text[1:-1]
    if text[:1] + text[-1:] not in ("()", "[]") or not inner.strip() or "," in inner:
        return text
    depth = 0
    for letter in inner:
        depth += (letter in "([") - (letter in ")]")
        if depth < 0:
            return text
    return text if depth else inner


def _plain(text: str) -> str:
    """LaTeX's fractions, words and marks as one would type them."""
    for pattern, plain in _LATEX:
        text = pattern.sub(plain, text)
    return text


def _without_remark(answer: str) -> str:
    """The answer without the brackets that it ends with: `12 apples (3 boxes of 4)`.

    Not without an alternative: `7 (or 8)` leaves it open.
    """
    remark = _REMARK.search(answer)
    hedged = remark is None or re.search(r"\bor\b", remark.group(0))
    return answer if hedged or remark is None else answer[: remark.start()].rstrip(" .!;,")


def _only_number(answer: str) -> Fraction | None:
    numbers = _NUMBER.findall(answer)
    return as_number(numbers[0]) if len(numbers) == 1 else None


def as_number(text: str) -> Fraction | None:
    """The value of a whole, decimal or fractional number, or None."""
    if not _NUMBER.fullmatch(text):
        return None
    top, _, bottom = text.replace(",", "").replace("\u2212", "-").partition("/")
    if bottom and int(bottom) == 0:
        return None
    return Fraction(top) / (int(bottom) if bottom else 1)
