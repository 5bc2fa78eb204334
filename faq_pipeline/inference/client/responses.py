"""Parses and validates servers' responses; an incomplete response is a fault of the server."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from faq_pipeline.inference.client.failures import FaultyError
from faq_pipeline.inference.engine import Completion


class _Usage(BaseModel):
    completion_tokens: int


class _Logprobs(BaseModel):
    token_logprobs: list[float | None] | None = None


class _Choice(BaseModel):
    text: str
    finish_reason: Literal["stop", "length"]
    logprobs: _Logprobs | None = None


class _Completions(BaseModel):
    choices: Annotated[list[_Choice], Field(min_length=1)]
    usage: _Usage


class _Token(BaseModel):
    logprob: float


class _ScoredChoice(BaseModel):
    prompt_logprobs: list[dict[str, _Token] | None]


class _Scored(BaseModel):
    choices: Annotated[list[_ScoredChoice], Field(min_length=1)]


class _Message(BaseModel):
    content: str | None = None


class _ChatChoice(BaseModel):
    message: _Message
    finish_reason: Literal["stop", "length"]


class _Chat(BaseModel):
    choices: Annotated[list[_ChatChoice], Field(min_length=1)]
    usage: _Usage | None = None


class _Model(BaseModel):
    id: str


class _Models(BaseModel):
    data: list[_Model]


def read_completion(request_id: str, content: bytes) -> Completion:
    """A sample. Its log-probability is None where the server gives none, or not for every token."""
    answer = _Completions.model_validate_json(content)
    choice = answer.choices[0]
    given = choice.logprobs.token_logprobs if choice.logprobs else None
    known = [value for value in given or () if value is not None]
    return Completion(
        request_id=request_id,
        text=choice.text,
        tokens=answer.usage.completion_tokens,
        logprob=sum(known) if given and len(known) == len(given) else None,
        finish=choice.finish_reason,
    )


def read_prompt_logprob(reply: list[int], content: bytes) -> float:
    """The mean log-probability of `reply`, the last tokens of the prompt that was asked about."""
    tokens = _Scored.model_validate_json(content).choices[0].prompt_logprobs[-len(reply) :]
    values = [
        entry[str(token)].logprob if entry and str(token) in entry else None
        for token, entry in zip(reply, tokens, strict=False)
    ]
    known = [value for value in values if value is not None]
    if len(known) != len(reply):
        raise FaultyError("the server gives no prompt_logprobs for some tokens")
    return sum(known) / len(known)


def read_chat(content: bytes) -> tuple[str | None, int]:
    """What the assistant says (None where it was cut, or says nothing), and its tokens."""
    answer = _Chat.model_validate_json(content)
    choice = answer.choices[0]
    said = choice.message.content if choice.finish_reason == "stop" else None
    return said, answer.usage.completion_tokens if answer.usage else 0


def read_models(content: bytes) -> list[str]:
    """The names of the models that a server serves."""
    return [model.id for model in _Models.model_validate_json(content).data]
