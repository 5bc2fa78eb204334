"""Parses servers' answers. One that is incomplete, impossible or another's is a fault of the server.

Every reader takes the name of the model that was asked; an answer that names another is refused.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field

from faq_pipeline.inference.client.failures import FaultyError
from faq_pipeline.inference.engine import Completion

ROUNDING = 1e-4
"""By how much a log-probability may exceed 0: a server may round its sums."""

LogProb = Annotated[
    float,
    Field(allow_inf_nan=False, ge=-1e9, le=ROUNDING),
    AfterValidator(lambda value: min(value, 0.0)),
]
"""Nats, finite and at most 0. vLLM writes -9999 for minus infinity."""
Count = Annotated[int, Field(ge=0, lt=2**31)]
Index = Literal[0]
"""Of the only choice that is asked for."""


class _Answer(BaseModel):
    model: str | None = None


class _Usage(BaseModel):
    completion_tokens: Count


class _Logprobs(BaseModel):
    token_logprobs: list[LogProb | None] | None = None


class _Choice(BaseModel):
    index: Index = 0
    text: str
    finish_reason: Literal["stop", "length"]
    logprobs: _Logprobs | None = None


class _Completions(_Answer):
    choices: Annotated[list[_Choice], Field(min_length=1, max_length=1)]
    usage: _Usage


class _Token(BaseModel):
    logprob: LogProb


class _ScoredChoice(BaseModel):
    index: Index = 0
    prompt_logprobs: list[dict[str, _Token] | None]


class _Scored(_Answer):
    choices: Annotated[list[_ScoredChoice], Field(min_length=1, max_length=1)]


class _EchoedLogprobs(BaseModel):
    token_logprobs: list[LogProb | None]
    top_logprobs: list[dict[str, LogProb] | None]


class _EchoedChoice(BaseModel):
    index: Index = 0
    logprobs: _EchoedLogprobs


class _Echoed(_Answer):
    choices: Annotated[list[_EchoedChoice], Field(min_length=1, max_length=1)]


class _Message(BaseModel):
    content: str | None = None


class _ChatChoice(BaseModel):
    index: Index = 0
    message: _Message
    finish_reason: Literal["stop", "length"]


class _Chat(_Answer):
    choices: Annotated[list[_ChatChoice], Field(min_length=1, max_length=1)]
    usage: _Usage | None = None


class _Model(BaseModel):
    id: Annotated[str, Field(max_length=1000)]


class _Models(BaseModel):
    data: list[_Model]


def read_completion(
    request_id: str, content: bytes, *, model: str | None = None, most: int | None = None
) -> Completion:
    """A sample. Its log-probability is None where the server gives none, or not for every token.

    Args:
        most: tokens that were asked for.
    """
    answer = _Completions.model_validate_json(content)
    _check_model(answer, model)
    choice, tokens = answer.choices[0], answer.usage.completion_tokens
    given = choice.logprobs.token_logprobs if choice.logprobs else None
    if most is not None and tokens > most:
        raise FaultyError(f"the answer has {tokens} tokens, {most} were asked for")
    if given and len(given) not in (tokens, tokens - 1):  # some do not tell of the end token
        raise FaultyError(f"the answer has {tokens} tokens and {len(given)} log-probabilities")
    known = [value for value in given or () if value is not None]
    return Completion(
        request_id=request_id,
        text=choice.text,
        tokens=tokens,
        logprob=sum(known) if given and len(known) == len(given) else None,
        finish=choice.finish_reason,
    )


def read_prompt_logprob(
    reply: list[int], content: bytes, *, model: str | None = None, length: int | None = None
) -> float:
    """The mean log-probability of `reply`, the last tokens of the prompt that was asked about.

    Args:
        length: tokens of the whole prompt, the reply included.
    """
    answer = _Scored.model_validate_json(content)
    _check_model(answer, model)
    given = answer.choices[0].prompt_logprobs
    if length is not None and len(given) != length:
        raise FaultyError(f"the answer has {len(given)} prompt_logprobs for {length} tokens")
    values = [
        entry[str(token)].logprob if entry and str(token) in entry else None
        for token, entry in zip(reply, given[-len(reply) :], strict=False)
    ]
    known = [value for value in values if value is not None]
    if len(known) != len(reply):
        raise FaultyError("the server gives no prompt_logprobs for some tokens")
    return sum(known) / len(known)


def read_echo(length: int, content: bytes, *, model: str | None = None) -> dict[str, Any]:
    """The answer to a prompt of `length` tokens that is echoed with one more, in the protocol's form.

    Every token but the first has a log-probability, and that of the most probable token at its place.
    """
    answer = _Echoed.model_validate_json(content)
    _check_model(answer, model)
    given = answer.choices[0].logprobs
    if not len(given.token_logprobs) == len(given.top_logprobs) == length + 1:
        raise FaultyError(f"the answer has {len(given.token_logprobs)} log-probabilities for {length} tokens")
    for own, top in zip(given.token_logprobs[1:], given.top_logprobs[1:], strict=True):
        if own is None or not top or max(top.values()) < own - ROUNDING:
            raise FaultyError("the answer lacks log-probabilities, or some contradict each other")
    return answer.model_dump()


def read_chat(content: bytes, *, model: str | None = None) -> tuple[str | None, int]:
    """What the assistant says (None where it was cut, or says nothing), and its tokens."""
    answer = _Chat.model_validate_json(content)
    _check_model(answer, model)
    choice = answer.choices[0]
    said = choice.message.content if choice.finish_reason == "stop" else None
    return said, answer.usage.completion_tokens if answer.usage else 0


def read_models(content: bytes) -> list[str]:
    """The names of the models that a server serves."""
    return [model.id for model in _Models.model_validate_json(content).data]


def _check_model(answer: _Answer, asked: str | None) -> None:
    """Refuse the answer of another model. A dated version of what was asked for is the same."""
    if answer.model is None or asked is None or answer.model == asked:
        return
    if not re.fullmatch(r"[-@:]\d[\d.-]*", answer.model.removeprefix(asked)):
        raise FaultyError("the answer is another model's than the one that was asked")
