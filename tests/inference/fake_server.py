"""A server that speaks the OpenAI protocol on 127.0.0.1 and fails as it is told. Real HTTP, no model.

Run as a module, it is a server by itself, for measurements: `python -m tests.inference.fake_server PORT`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Self

from aiohttp import web

Kind = Literal[
    "hang",
    "error 500",
    "error 503",
    "busy",
    "not json",
    "no choices",
    "cut body",
    "no finish",
    "reset",
    "too long",
    "denied",
    "unknown",
    "slow",
]


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one call; `seconds` are those of `Retry-After`, or of being slow."""

    kind: Kind
    seconds: float | None = None


@dataclass(frozen=True)
class Asked:
    """One call as the server sees it: `call` is its number among those of (prompt, seed), from 1,
    `others` are the calls in flight beside it, `at` is the clock's time in seconds.
    """

    path: str
    prompt: Any
    seed: int | None
    call: int
    others: int
    at: float
    authorization: str | None
    body: dict[str, Any]


def answer(prompt: Any, seed: int | None, max_tokens: int) -> tuple[str, list[float], str]:
    """Text, log-probabilities and finish: always the same for the same prompt and seed."""
    digest = hashlib.sha256(repr((prompt, seed)).encode()).digest()
    wanted = 1 + digest[0] % 12
    logprobs = [-(byte + 1) / 64 for byte in digest[: min(wanted, max_tokens)]]
    text = "<think>" + " ".join(f"w{byte}" for byte in digest[: len(logprobs)])
    return text, logprobs, "stop" if wanted <= max_tokens else "length"


class FakeServer:
    """One server in a thread of its own, from `with` to its end; `stop` and `start` in between.

    Attributes:
        fault: what goes wrong with a call, or None; asked for each.
        reply: the content of a chat answer.
        calls: how often each (prompt, seed) was asked, good or bad.
        largest: most calls at one time.
        delay: seconds that every good answer takes.
    """

    def __init__(self, *, key: str | None = None, models: tuple[str, ...] = ("fake",)) -> None:
        self.key, self.models = key, models
        self.fault: Callable[[Asked], Fault | None] = lambda asked: None
        self.reply: Callable[[Asked], str] = lambda asked: "{}"
        self.calls: Counter[tuple[Any, int | None]] = Counter()
        self.asked: list[Asked] = []
        self.delay = 0.0
        self.largest = self.in_flight = 0
        self.port = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; on the same port as before, if there was one."""
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True)
        self._thread.start()
        assert ready.wait(10)

    def stop(self) -> None:
        """Drop every connection and stop listening."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
            self._loop = None

    async def _serve(self, ready: threading.Event) -> None:
        self._stop = asyncio.Event()
        app = web.Application(client_max_size=2**26)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/completions", self._handle)
        app.router.add_post("/v1/chat/completions", self._handle)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True, backlog=4096).start()
        self.port = runner.addresses[0][1]
        self._loop = asyncio.get_running_loop()
        ready.set()
        await self._stop.wait()
        for transport in list(runner.server.connections):
            if transport.transport is not None:
                transport.transport.abort()
        await runner.cleanup()

    async def _models(self, request: web.Request) -> web.Response:
        if denied := self._denied(request):
            return denied
        return web.json_response({"object": "list", "data": [{"id": name} for name in self.models]})

    def _denied(self, request: web.Request) -> web.Response | None:
        """A careless server: it repeats the key that it refuses."""
        given = request.headers.get("authorization", "")
        if self.key is None or given == f"Bearer {self.key}":
            return None
        return web.json_response({"error": {"message": f"wrong key: {given}"}}, status=401)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.in_flight += 1
        self.largest = max(self.largest, self.in_flight)
        try:
            return await self._answer(request)
        finally:
            self.in_flight -= 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        prompt = body["messages"][-1]["content"] if "messages" in body else body["prompt"]
        key = (_frozen(prompt), body.get("seed"))
        self.calls[key] += 1
        asked = Asked(
            request.path,
            prompt,
            body.get("seed"),
            self.calls[key],
            self.in_flight - 1,
            time.monotonic(),
            request.headers.get("authorization"),
            body,
        )
        self.asked.append(asked)
        if denied := self._denied(request):
            return denied
        if body.get("model") not in self.models:
            return _error(404, f"The model `{body.get('model')}` does not exist.")
        fault = self.fault(asked)
        if fault is not None and fault.kind != "slow":
            return await _fail(request, fault, self._content(asked))
        await asyncio.sleep(fault.seconds or 0 if fault else self.delay)
        return web.json_response(self._content(asked))

    def _content(self, asked: Asked) -> dict[str, Any]:
        if "messages" in asked.body:
            message = {"role": "assistant", "content": self.reply(asked)}
            choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": "stop"}
            return {"choices": [choice], "usage": {"completion_tokens": 5}}
        text, logprobs, finish = answer(asked.prompt, asked.seed, asked.body["max_tokens"])
        choice = {"index": 0, "text": text, "finish_reason": finish}
        if asked.body.get("logprobs") is not None:
            choice["logprobs"] = {"token_logprobs": logprobs, "tokens": ["w"] * len(logprobs)}
        if asked.body.get("prompt_logprobs") is not None:
            rest = [{str(token): {"logprob": -token / 8}} for token in asked.prompt[1:]]
            choice["prompt_logprobs"] = [None, *rest]
        return {"choices": [choice], "usage": {"completion_tokens": len(logprobs)}}


def _frozen(prompt: Any) -> Any:
    """A text, token ids or a batch of such, as what a dictionary takes."""
    return tuple(map(_frozen, prompt)) if isinstance(prompt, list) else prompt


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"error": {"message": message}}, status=status, headers=headers)


async def _fail(request: web.Request, fault: Fault, content: dict[str, Any]) -> web.StreamResponse:
    match fault.kind:
        case "hang":
            await asyncio.sleep(3600)
        case "error 500" | "error 503":
            return _error(int(fault.kind[-3:]), "something broke\nbadly", _retry_after(fault))
        case "busy":
            return _error(429, "too many requests", _retry_after(fault))
        case "not json":
            return web.Response(text='{"choices": [{"text": ', content_type="application/json")
        case "no choices":
            content["choices"] = []
        case "no finish":
            content["choices"][0]["finish_reason"] = None
        case "too long":
            return _error(400, "This model's maximum context length is 8 tokens.\nYour prompt has 9.")
        case "denied":
            return _error(401, f"wrong key: {request.headers.get('authorization')}")
        case "unknown":
            return _error(404, "no such model")
        case "reset":
            assert request.transport is not None
            request.transport.abort()
        case "cut body":
            return await _cut(request, json.dumps(content).encode())
    return web.json_response(content)


def _retry_after(fault: Fault) -> dict[str, str] | None:
    return None if fault.seconds is None else {"Retry-After": f"{fault.seconds:g}"}


async def _cut(request: web.Request, content: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": str(len(content))})
    response.content_type = "application/json"
    await response.prepare(request)
    await response.write(content[: len(content) // 2])
    assert request.transport is not None
    request.transport.close()
    return response


if __name__ == "__main__":
    server = FakeServer()
    server.port = int(sys.argv[1])
    server.delay = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    server.start()
    threading.Event().wait()
