"""The section `endpoint`: servers of the user's own. It holds no secret, and refuses what looks like one."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from faq_pipeline.config.yaml import WITHHELD, Strict
from faq_pipeline.util.secrets import secret_in

VARIABLE = r"^[A-Z_][A-Z0-9_]*$"
_URL = re.compile(
    r"https?://(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
    r"(?::(?P<port>\d{1,5}))?(?:/[A-Za-z0-9._~+:-]+)*/?"
)
_LONGEST_WORD = 19
"""Characters of a word with letters and digits that may still be part of a variable's name."""
_IN_THE_ENVIRONMENT = "the endpoint's 'key' names the environment variable that holds its key"


def _check_url(value: Any) -> str:
    """Refuse all but scheme, host, port and path. The message does not repeat the value."""
    text = value if isinstance(value, str) else ""
    for mark, what in (("@", "a user or password"), ("?", "a query"), ("#", "a fragment")):
        if mark in text:
            raise PydanticCustomError(WITHHELD, f"has {what} in its URL; {_IN_THE_ENVIRONMENT}")
    found = _URL.fullmatch(text)
    if found is None or not 0 < int(found["port"] or 1) < 2**16:
        raise PydanticCustomError(WITHHELD, "not a URL as http://localhost:8000/v1")
    if secret_in(text):
        raise PydanticCustomError(WITHHELD, f"has a key or token in its URL; {_IN_THE_ENVIRONMENT}")
    return str(text)


def _check_variable(value: Any) -> Any:
    """Refuse what cannot be a variable's name, or looks like a key. The message does not repeat it."""
    if value is None:
        return value
    words = value.split("_") if isinstance(value, str) else []
    random = [w for w in words if len(w) > _LONGEST_WORD and any(c.isdigit() for c in w)]
    if not isinstance(value, str) or not re.fullmatch(VARIABLE, value) or random or secret_in(value):
        raise PydanticCustomError(
            WITHHELD, "not the name of an environment variable in capitals, as TEACHER_KEY; the key itself"
            " belongs into that variable",
        )  # fmt: skip
    return str(value)


ServerUrl = Annotated[str, BeforeValidator(_check_url)]
"""A server's URL of scheme, host, port and path."""
VariableName = Annotated[
    str | None,
    BeforeValidator(_check_variable),
    WithJsonSchema({"anyOf": [{"pattern": VARIABLE, "type": "string"}, {"type": "null"}]}),
]
"""An environment variable's name, in capitals."""


class Endpoint(Strict):
    """Servers of one model that speak the OpenAI protocol. Keys stay in the environment."""

    base_urls: Annotated[list[ServerUrl], Field(min_length=1)]
    """One server, or several of which each answers for all: `http://host:8000/v1`."""
    model: str | None = None
    """The name it is served under; the only one that the server lists where absent."""
    key: VariableName = None
    """Name of the environment variable that holds the key."""
