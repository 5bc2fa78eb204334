"""The forms in which people keep prompts, and their conversion into the rows of a seed file.

Pure: rows in, rows out. `seed_files` reads them from files.

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

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from faq_pipeline.competition.answers import as_number, normalise
from faq_pipeline.competition.quantities import only_quantity
from faq_pipeline.errors import FaqError
from faq_pipeline.store.records import Kind, Seed

PROMPTS = ("prompt", "question", "query", "instruction", "problem", "input", "user")
"""Columns that hold what a user asks, in the order in which they are looked for; case is ignored."""
TEXTS = ("text", "content", "passage", "document", "body", "article")
"""Columns that hold plain text."""
ANSWERS = ("answer", "response", "output", "completion", "reply", "solution", "assistant")
CALLED_ANSWERS = ("answer", "solution")
MOST_WORDS = 5
"""Of an answer that is no number."""
DOMAINS = ("domain", "category", "topic", "subject", "task")
LICENCES = ("licence", "license")
LOOKED_AT = 20
"""Rows by which a form is recognized."""
HUMAN, MACHINE = ("user", "human", "prompter"), ("assistant", "gpt", "model", "bot", "chatgpt")
EXPECTED = (
    "expected chat 'messages', ShareGPT 'conversations', Alpaca 'instruction', a column like"
    " 'prompt', 'question' or 'text', or our own 'id', 'text', 'kind'"
)

Row = Mapping[str, Any]
Said = tuple[str, str | None]
"""A text and its answer."""


class UnusableRowError(Exception):
    """Why a row becomes no seed, in a few words."""


@dataclass(frozen=True)
class Form:
    """One way to keep prompts: its name, what it is of a row, and of which kind its seeds are."""

    name: str
    read: Callable[[Row], Said]
    kind: Kind = "question"


@dataclass(frozen=True)
class Refused:
    """A row that became no seed; `line` is 1-based."""

    line: int
    reason: str


@dataclass(frozen=True)
class Converted:
    """The seeds of a file in its order with their lines by id, and the rows that became none."""

    form: str
    seeds: list[Seed]
    lines: dict[str, int]
    refused: list[Refused]


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
            return _text(row.get(name), f"{name!r}"), _terse(row.get(answers), MOST_WORDS)
        named = _first(row, CALLED_ANSWERS, besides=name)
        answer = _terse(_first(row, ANSWERS, besides=name)) if named is None else _terse(named, MOST_WORDS)
        return _text(row.get(name), f"{name!r}"), answer

    return Form(f"column {name!r}", read, "text" if name.lower() in TEXTS else "question")


def convert(form: Form, rows: Iterable[tuple[int, Any]], file: str) -> Converted:
    """Seeds out of rows; ids are unique, and no text occurs twice.

    Args:
        rows: each with its line; what is no mapping is refused.
        file: its name, the `source` of rows that have none; ids of rows without one are made of it.
    """
    seeds: dict[str, Seed] = {}
    lines: dict[str, int] = {}
    texts: dict[str, int] = {}
    refused: list[Refused] = []
    for line, row in rows:
        try:
            seed = _seed(form, row, line, file, seeds)
            if seed.text in texts:
                raise UnusableRowError(f"the same text as line {texts[seed.text]}")
        except UnusableRowError as error:
            refused.append(Refused(line, str(error)))
            continue
        seeds[seed.id] = seed
        lines[seed.id] = texts[seed.text] = line
    return Converted(form.name, list(seeds.values()), lines, refused)


def _seed(form: Form, row: Any, line: int, file: str, taken: Mapping[str, Seed]) -> Seed:
    if isinstance(row, UnusableRowError):
        raise row
    if not isinstance(row, Mapping):
        raise UnusableRowError("not an object")
    text, answer = form.read(row)
    made = f"{file.partition('.')[0] or 'seed'}-{line:05}"
    own = row.get("id")
    seed_id = str(own) if isinstance(own, (str, int)) and _word(str(own)) else made
    if seed_id in taken:
        seed_id = next(
            f"{made}{more}"
            for more in ("", *(f"-{n}" for n in range(2, len(taken) + 3)))
            if f"{made}{more}" not in taken
        )
    kind: Kind = row["kind"] if form is OURS else form.kind
    return Seed(
        id=seed_id,
        text=text,
        kind=kind,
        answer=answer,
        domain=_word(_first(row, DOMAINS)) or "general",
        source=_word(row.get("source")) or file,
        licence=_word(_first(row, LICENCES)) or "unknown",
    )


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
    text = _text(_parts(said[asked][1]), "the user's turn")
    reply = next((_parts(text) for who, text in said[asked + 1 : asked + 2] if who in MACHINE), None)
    system = "\n\n".join(part.strip() for part in before if isinstance(part, str) and part.strip())
    return f"{system}\n\n{text}" if system else text, _terse(reply)


def _parts(content: Any) -> Any:
    """A turn's text; where it has several parts, the text of all, if all are text."""
    if not isinstance(content, Sequence) or isinstance(content, str):
        return content
    if not all(isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in content):
        raise UnusableRowError("a turn holds more than text")
    return "\n".join(part["text"] for part in content)


def _alpaca(row: Row) -> Said:
    given = _optional(row.get("input"))
    text = _text(row.get("instruction"), "'instruction'")
    return f"{text}\n\n{given}" if given else text, _terse(row.get("output"))


def _ours(row: Row) -> Said:
    if row.get("kind") not in ("question", "text"):
        raise UnusableRowError("kind is neither 'question' nor 'text'")
    return _text(row.get("text"), "'text'"), _optional(row.get("answer"))


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


def _first(row: Row, names: Sequence[str], besides: str = "") -> Any:
    """The first of these columns that holds something."""
    lower = {str(key).lower(): value for key, value in row.items() if key != besides}
    return next((lower[name] for name in names if lower.get(name) not in (None, "")), None)


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise UnusableRowError(f"{what} is missing" if value is None else f"{what} is no text")
    if not value.strip():
        raise UnusableRowError(f"{what} is empty")
    if not _encodable(value):
        raise UnusableRowError(f"{what} holds half a character")
    return value


def _encodable(text: str) -> bool:
    """Whether it is text: JSON can spell halves of characters, which no file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _optional(value: Any) -> str | None:
    """An answer, where there is one: text, or a number as text."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value.strip() and _encodable(value) else None


def _terse(value: Any, words: int = 0) -> str | None:
    """An answer that a candidate's can be compared with: a number, a quantity, or so many words in a line."""
    text = _optional(value)
    if text is None:
        return None
    plain = normalise(text)
    if as_number(plain) is not None or only_quantity(plain) is not None:
        return text
    return text if len(text.splitlines()) == 1 and 0 < len(text.split()) <= words else None


def _word(value: Any) -> str | None:
    return value.strip() or None if isinstance(value, str) and _encodable(value) else None
