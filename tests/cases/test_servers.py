"""A server that answers too slowly or with impossible numbers is faulty, and the client says so."""

from __future__ import annotations

import json
import math
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from faq_pipeline.config.recipe import Sampling
from faq_pipeline.errors import FaqError
from faq_pipeline.inference.client.client import Client
from faq_pipeline.inference.client.failures import FaultyError
from faq_pipeline.inference.client.load_balancer import RetryPolicy
from faq_pipeline.inference.client.responses import read_completion
from faq_pipeline.inference.client.server_address import ServerAddress
from faq_pipeline.inference.engine import Request
from tests.cases.known_fault import known_fault

TIMEOUT, DRIP, LIMIT = 0.5, 0.1, 8.0
"""Seconds: for one answer, between two bytes, and for the whole call. All bytes would take 12."""


class DrippingServer:
    """Sends a good answer one byte at a time, `DRIP` seconds apart."""

    def __init__(self) -> None:
        choice = {"index": 0, "text": "ok", "finish_reason": "stop"}
        body = json.dumps({"choices": [choice], "usage": {"completion_tokens": 2}}).encode()
        self.content = body + b" " * (120 - len(body))
        self.stopped = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        threading.Thread(target=self._listen, daemon=True).start()

    def stop(self) -> None:
        self.stopped.set()
        self._listener.close()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65536)
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(self.content)}"
            connection.sendall(f"{head}\r\n\r\n".encode())
            for byte in self.content:
                connection.sendall(bytes([byte]))
                if self.stopped.wait(DRIP):
                    return


@pytest.fixture
def dripping() -> Iterator[DrippingServer]:
    server = DrippingServer()
    yield server
    server.stop()


@known_fault("the client's timeout counts from the last byte, so a server that drips is never given up")
def test_the_timeout_holds_for_a_whole_answer(dripping: DrippingServer) -> None:
    """`timeout` is the seconds for one answer, however often a byte of it comes."""
    patience = RetryPolicy(tries=1, first=0.05, longest=0.1)
    client = Client([ServerAddress(dripping.url)], "fake", most=1, timeout=TIMEOUT, patience=patience)
    started = time.monotonic()
    with suppress(FaqError):  # or a completion with an error
        list(client.complete([Request("r", "prompt", 1)], Sampling(temperature=1, max_new_tokens=8)))
    assert time.monotonic() - started < LIMIT


@known_fault("an answer's numbers are taken as they come")
@pytest.mark.parametrize(
    ("tokens", "logprobs"),
    [
        pytest.param(-5, [-0.1], id="negative count"),
        pytest.param(99999999999999999999, [-0.1], id="gigantic count"),
        pytest.param(2, [5.0, 7.0], id="positive log-probability"),
        pytest.param(2, [math.nan, -0.1], id="not a number"),
        pytest.param(2, [-math.inf, -0.1], id="infinite log-probability"),
    ],
)
def test_impossible_numbers_are_a_faulty_answer(tokens: int, logprobs: list[float]) -> None:
    """Counts and log-probabilities that cannot be are refused like an answer that lacks them."""
    choice = {"text": "a", "finish_reason": "stop", "logprobs": {"token_logprobs": logprobs}}
    content = json.dumps({"choices": [choice], "usage": {"completion_tokens": tokens}})
    refused = False
    try:
        read_completion("r", content.encode())
    except (ValueError, FaultyError):
        refused = True
    assert refused
