"""The forms in which people keep prompts: how each is recognized, and what a row of it asks and answers.

`seed_conversion` makes seeds of them, and `seed_files` reads them from files.

| form | recognized by | text | answer |
|---|---|---|---|
| seeds | `id`, `text` and `kind` | as it is | as it is |
| chat messages | `messages` with `role` and `content` | the first user's turn | the reply to it |
| ShareGPT | `conversations` with `from` and `value` | the first human's turn | the reply to it |
| Alpaca | `instruction`, perhaps `input` | both, a blank line between | `output` |
| column | a column out of `PROMPTS` or `TEXTS` | the column | a column out of `ANSWERS` |

A seed's answer is what candidates are compared with, and a candidate with another one may not win. So a
reply counts as an answer only where it is a number or a quantity; what a column calls an answer, where it
is a few words. All other replies are left out.

What a system message says is put in front of the user's text, as templates without a system role do.
Of a conversation the first exchange is taken: later turns are no prompts without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from faq_pipeline.errors import FaqError
from faq_pipeline.quickstart.seed_values import (
    MOST_WORDS,
    Row,
    UnusableRowError,
    first_of,
    optional_text,
    required_text,
    terse_answer,
)
from faq_pipeline.store.records import Kind

PROMPTS = ("prompt", "question", "query", "instruction", "problem", "input", "user")
"""Columns that hold what a user asks, in the order in which they are looked for; case is ignored."""
TEXTS = ("text", "content", "passage", "document", "body", "article")
"""Columns that hold plain text."""
ANSWERS = ("answer", "response", "output", "completion", "reply", "solution", "assistant")
CALLED_ANSWERS = ("answer", "solution")
LOOKED_AT = 20
"""Rows by which a form is recognized."""
HUMAN, MACHINE = ("user", "human", "prompter"), ("assistant", "gpt", "model", "bot", "chatgpt")
EXPECTED = (
    "expected chat 'messages', ShareGPT 'conversations', Alpaca 'instruction', a column like"
    " 'prompt', 'question' or 'text', or our own 'id', 'text', 'kind'"
)

Said = tuple[str, str | None]
"""A text and its answer."""


@dataclass(frozen=True)
class Form:
    """One way to keep prompts: its name, what it is of a row, and of which kind its seeds are."""

    name: str
    read: Callable[[Row], Said]
    kind: Kind = "question"


def recognize(rows: Sequence[Row]) -> Form:
    """The form that the most of the first rows have; of equals the first of the table above.

    Raises:
        FaqError: none of them has a known form; says which keys were found.
    """
    looked_at = rows[:LOOKED_AT]
    counts = {form.name: sum(_fits(form, row) for row in looked_at) for form in FORMS}
    best = max(FORMS, key=lambda form: counts[form.name])
    if counts[best.name]:
        return best
    columns = [_column(row) for row in looked_at]
    found = next((column for column in columns if column is not None), None)
    if found is None:
        keys = sorted({str(key) for row in looked_at for key in row})
        raise FaqError(f"no prompts in the keys {', '.join(keys[:12]) or '(none)'}", hint=EXPECTED)
    return column_form(found)


def column_form(name: str, answers: str | None = None) -> Form:
    """Rows whose column of that name holds the text.

    Args:
        answers: column of the answers; where absent, one that is called so.
    """

    def read(row: Row) -> Said:
        if answers is not None:
            return required_text(row.get(name), f"{name!r}"), terse_answer(row.get(answers), MOST_WORDS)
        named = first_of(row, CALLED_ANSWERS, besides=name)
        answer = (
            terse_answer(first_of(row, ANSWERS, besides=name))
            if named is None
            else terse_answer(named, MOST_WORDS)
        )
        return required_text(row.get(name), f"{name!r}"), answer

    return Form(f"column {name!r}", read, "text" if name.lower() in TEXTS else "question")


def _messages(row: Row) -> Said:
    return _exchange(row.get("messages"), "role", "content")


def _conversations(row: Row) -> Said:
    return _exchange(row.get("conversations"), "from", "value")


def _exchange(turns: Any, role: str, content: str) -> Said:
    """The first user's turn, after what the system says, and the reply that follows it."""
    if not isinstance(turns, Sequence) or not all(isinstance(turn, Mapping) for turn in turns):
        raise UnusableRowError("its turns are no list of objects")
    said = [(str(turn.get(role, "")).lower(), turn.get(content)) for turn in turns]
    asked = next((number for number, (who, _) in enumerate(said) if who in HUMAN), None)
    if asked is None:
        raise UnusableRowError("no user's turn")
    before = [_parts(text) for who, text in said[:asked] if who in ("system", "developer")]
    text = required_text(_parts(said[asked][1]), "the user's turn")
    reply = next((_parts(text) for who, text in said[asked + 1 : asked + 2] if who in MACHINE), None)
    system = "\n\n".join(part.strip() for part in before if isinstance(part, str) and part.strip())
    return f"{system}\n\n{text}" if system else text, terse_answer(reply)


def _parts(content: Any) -> Any:
    """A turn's text; where it has several parts, the text of all, if all are text."""
    if not isinstance(content, Sequence) or isinstance(content, str):
        return content
    if not all(isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in content):
        raise UnusableRowError("a turn holds more than text")
    return "\n".join(part["text"] for part in content)


def _alpaca(row: Row) -> Said:
    given = optional_text(row.get("input"))
    text = required_text(row.get("instruction"), "'instruction'")
    return f"{text}\n\n{given}" if given else text, terse_answer(row.get("output"))


def _ours(row: Row) -> Said:
    if row.get("kind") not in ("question", "text"):
        raise UnusableRowError("kind is neither 'question' nor 'text'")
    return required_text(row.get("text"), "'text'"), optional_text(row.get("answer"))


OURS = Form("seeds", _ours)
"""Rows that are seeds already."""
FORMS = (
    OURS,
    Form("chat messages", _messages),
    Form("ShareGPT conversations", _conversations),
    Form("Alpaca instructions", _alpaca),
)
_NEEDED = {
    "seeds": ("id", "text", "kind"),
    "chat messages": ("messages",),
    "ShareGPT conversations": ("conversations",),
    "Alpaca instructions": ("instruction",),
}


def _fits(form: Form, row: Row) -> bool:
    return all(key in row for key in _NEEDED[form.name])


def _column(row: Row) -> str | None:
    """The column that holds the text, as the row writes it."""
    names = {str(key).lower(): str(key) for key in row}
    return next((names[name] for name in (*PROMPTS, *TEXTS) if name in names), None)
