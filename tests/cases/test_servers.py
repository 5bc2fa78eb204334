"""A server that answers too slowly, without end or with impossible numbers is faulty, and we say so."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import pytest

from faq_pipeline.config.recipe import Sampling
from faq_pipeline.discovery import request_budget
from faq_pipeline.discovery.hub_source import HubSource
from faq_pipeline.errors import FaqError
from faq_pipeline.inference.client.client import Chat, Client
from faq_pipeline.inference.client.load_balancer import RetryPolicy
from faq_pipeline.inference.client.responses import read_completion
from faq_pipeline.inference.client.server_address import ServerAddress
from faq_pipeline.inference.engine import Request
from faq_pipeline.inference.server.ports import ask_server
from tests.discovery.acme import acme
from tests.faults.table import FaultTable
from tests.hub.client import use_hub
from tests.inference.raw_server import Raw, RawServer, as_json, bomb, whole

KIND = "answers of servers without bound or impossible"
TIMEOUT = 0.5
"""Seconds for an answer that comes slowly; all its bytes take 12."""
ONCE = RetryPolicy(tries=1, first=0.01, longest=0.01)
PROMPT, REPLY = [1, 2], [3, 4]


@pytest.fixture
def server() -> Iterator[RawServer]:
    with RawServer() as running:
        yield running


# What is asked, the good answer to it, and how the first result looks.

GOOD: dict[str, dict[str, Any]] = {
    "completion": {
        "choices": [
            {"text": "a", "finish_reason": "stop", "logprobs": {"token_logprobs": [-0.1, -0.1, -0.1]}}
        ],
        "usage": {"completion_tokens": 3},
    },
    "prompt": {"choices": [{"prompt_logprobs": [None, *({str(n): {"logprob": -0.1}} for n in (2, 3, 4))]}]},
    "echo": {
        "choices": [
            {
                "logprobs": {
                    "token_logprobs": [None, -0.1, -0.2],
                    "top_logprobs": [None, {"2": -0.1}, {"7": -0.2}],
                }
            }
        ]
    },
    "chat": {
        "choices": [{"message": {"content": "{}"}, "finish_reason": "stop"}],
        "usage": {"completion_tokens": 2},
    },
}
for one in GOOD.values():
    one["model"], one["choices"][0]["index"] = "fake", 0


def ask(client: Client, what: str) -> tuple[bool, str]:
    """Whether the first result is a good one, and what is wrong where it is told."""
    sampling = Sampling(temperature=1, max_new_tokens=8)
    try:
        match what:
            case "completion":
                completion = next(client.complete([Request("r", "prompt", 1)], sampling))
                return not completion.error, completion.error
            case "prompt":
                return next(client.prompt_logprobs([(PROMPT, REPLY)]))[1] is not None, ""
            case "echo":
                answer = next(client.echoes([PROMPT], 4))[1]
                return not isinstance(answer, str), str(answer)
            case _:
                reply = next(client.chat([Chat("c", [], {}, 1, 8)]))
                return not reply.error, reply.error
    except FaqError as error:
        return False, str(error)


def client(server: RawServer, timeout: float = 30.0) -> Client:
    return Client([ServerAddress(f"{server.url}/v1")], "fake", most=4, timeout=timeout, patience=ONCE)


@pytest.mark.parametrize("what", GOOD)
def test_a_good_answer_is_taken(server: RawServer, what: str) -> None:
    server.answer = lambda path: whole(as_json(GOOD[what]))
    assert ask(client(server), what)[0]


# Without bound.

UNBOUND: dict[str, tuple[Callable[[RawServer, bytes], Raw], str]] = {
    "drips": (RawServer.drip, "no whole answer in 0.5 seconds"),
    "drips its headers": (RawServer.drip_head, "no whole answer in 0.5 seconds"),
    "never ends": (RawServer.endless, "longer than"),
    "an error that never ends": (lambda s, content: s.endless(content, "500 Oops"), "longer than"),
    "a bomb": (lambda s, content: bomb(content), "compressed"),
}


@pytest.mark.parametrize("form", UNBOUND)
@pytest.mark.parametrize("what", GOOD)
def test_an_answer_without_bound_is_given_up(
    server: RawServer, what: str, form: str, fault_table: FaultTable
) -> None:
    """`timeout` is for the whole answer, however often a byte comes; so is the bound on its bytes."""
    make, why = UNBOUND[form]
    server.answer = lambda path: make(server, as_json(GOOD[what]))
    with fault_table.trial(KIND):
        good, told = ask(client(server, TIMEOUT if "drips" in form else 30.0), what)
        assert not good and why in told


# Impossible.

Change = Callable[[dict[str, Any], dict[str, Any]], object]
"""What is done to the answer; its second argument is the only choice."""
ANY: dict[str, Change] = {
    "another model": lambda answer, _: answer.update(model="other"),
    "another index": lambda _, choice: choice.update(index=1),
    "two choices": lambda answer, choice: answer["choices"].append(choice),
    "nested without bound": lambda answer, _: answer.update(model=NESTED),
}
COUNTS: dict[str, Change] = {
    "negative count": lambda answer, _: answer["usage"].update(completion_tokens=-5),
    "gigantic count": lambda answer, _: answer["usage"].update(completion_tokens=99999999999999999999),
    "a count of many digits": lambda answer, _: answer["usage"].update(completion_tokens=DIGITS),
}
NUMBERS = {
    "positive": 5.0,
    "not a number": math.nan,
    "infinite": -math.inf,
    "beyond all floats": "1e999",
}
LENGTHS: dict[str, Change] = {
    "too few": lambda _, choice: _cut(choice, -2),
    "too many": lambda _, choice: _cut(choice, 2),
}
DIGITS, NESTED = "<digits>", "<nested>"


def _cut(choice: dict[str, Any], by: int) -> None:
    """Lists of log-probabilities that are shorter or longer than they should be."""
    lists = choice.get("logprobs", choice)
    for name, values in lists.items():
        if name.endswith("logprobs"):
            lists[name] = values[:by] if by < 0 else [*values, *values[-by:]]


def _number(value: Any) -> Change:
    def change(_: dict[str, Any], choice: dict[str, Any]) -> None:
        if "prompt_logprobs" in choice:
            choice["prompt_logprobs"][-1]["4"]["logprob"] = value
        else:
            choice["logprobs"]["token_logprobs"][-1] = value
            if "top_logprobs" in choice["logprobs"]:
                choice["logprobs"]["top_logprobs"][-1]["7"] = value

    return change


IMPOSSIBLE: list[tuple[str, str, Change]] = [
    *((what, name, change) for what in GOOD for name, change in ANY.items()),
    *((what, name, change) for what in ("completion", "chat") for name, change in COUNTS.items()),
    *(
        (what, name, _number(value))
        for what in ("completion", "prompt", "echo")
        for name, value in NUMBERS.items()
    ),
    *((what, name, change) for what in ("completion", "prompt", "echo") for name, change in LENGTHS.items()),
    ("completion", "more than asked for", lambda answer, _: answer["usage"].update(completion_tokens=9)),
]


@pytest.mark.parametrize(
    ("what", "change"), [pytest.param(w, c, id=f"{w}, {name}") for w, name, c in IMPOSSIBLE]
)
def test_an_impossible_answer_is_refused(
    server: RawServer, what: str, change: Change, fault_table: FaultTable
) -> None:
    """As one that lacks something: by whoever asks, for replies, scores, echoes and verdicts."""
    answer = deepcopy(GOOD[what])
    change(answer, answer["choices"][0])
    content = as_json(answer).replace(b'"1e999"', b"-1e999").replace(f'"{DIGITS}"'.encode(), b"9" * 5001)
    content = content.replace(f'"{NESTED}"'.encode(), b"[" * 100_000)
    server.answer = lambda path: whole(content)
    with fault_table.trial(KIND):
        assert not ask(client(server), what)[0]


@pytest.mark.parametrize("model", ["fake", "fake-2026-01-31", None])
def test_a_dated_version_of_the_model_is_the_model(model: str | None) -> None:
    answer = GOOD["completion"] | {"model": model}
    assert read_completion("r", as_json(answer), model="fake").logprob == pytest.approx(-0.3)


# The list of models, our own server's health, and the hub.


@pytest.mark.parametrize("form", UNBOUND)
def test_a_list_of_models_without_bound_is_given_up(
    server: RawServer, form: str, monkeypatch: pytest.MonkeyPatch, fault_table: FaultTable
) -> None:
    monkeypatch.setattr("faq_pipeline.inference.client.served_model.WAIT", TIMEOUT if "drips" in form else 30)
    server.answer = lambda path: UNBOUND[form][0](server, as_json({"data": [{"id": "fake"}]}))
    with fault_table.trial(KIND), pytest.raises(FaqError, match="their lists could not be read"):
        Client([ServerAddress(f"{server.url}/v1")]).check()


@pytest.mark.parametrize("form", ["drips", "drips its headers", "never ends"])
def test_health_without_bound_is_no_answer(server: RawServer, form: str, fault_table: FaultTable) -> None:
    server.answer = lambda path: UNBOUND[form][0](server, b"fine")
    with fault_table.trial(KIND):
        assert ask_server(server.port, "/health", timeout=TIMEOUT if "drips" in form else 30) == (0, b"")


@pytest.mark.parametrize("form", ["drips", "never ends", "a bomb", "a number of many digits", "nested"])
def test_a_hub_without_bound_is_given_up(
    server: RawServer, form: str, monkeypatch: pytest.MonkeyPatch, fault_table: FaultTable
) -> None:
    use_hub(monkeypatch, server.url)
    if form == "drips":
        monkeypatch.setattr(request_budget, "MOST_SECONDS", TIMEOUT)
    contents = {"a number of many digits": b"[" + b"9" * 5001 + b"]", "nested": b"[" * 100_000}
    server.answer = lambda path: (
        whole(contents[form]) if form in contents else UNBOUND[form][0](server, b"[]")
    )
    with fault_table.trial(KIND), pytest.raises(FaqError, match=r"given up|makes no sense"):
        HubSource().look(acme(), {})
