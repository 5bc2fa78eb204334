"""A server on 127.0.0.1 that answers with the bytes it is told to: slowly, without end, or compressed."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

DRIP = 0.1
"""Seconds between two bytes of a server that drips."""
BOMB = 64 * 2**20
"""Bytes that a bomb of some 64 KiB unpacks to."""

Raw = Iterator[bytes]
Answer = Callable[[str], Raw]
"""The bytes of an answer, status line and headers included, by the request's path."""


class RawServer:
    """Serves from `with` to its end.

    Attributes:
        answer: asked for each request.
        stopped: set at the end; who waits between bytes waits for it.
    """

    def __init__(self) -> None:
        self.answer: Answer = lambda path: iter([b""])
        self.stopped = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.port: int = self._server.server_port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()

    def drip(self, content: bytes) -> Raw:
        """A good answer, one byte at a time: 12 seconds of it."""
        content += b" " * (120 - len(content))
        yield _head(len(content))
        for byte in content:
            yield bytes([byte])
            if self.stopped.wait(DRIP):
                return

    def drip_head(self, content: bytes) -> Raw:
        """The same with the headers."""
        for byte in _head(len(content)) + content:
            yield bytes([byte])
            if self.stopped.wait(DRIP):
                return

    def endless(self, content: bytes, status: str = "200 OK") -> Raw:
        """A good answer after spaces without end."""
        yield f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n".encode()
        while not self.stopped.is_set():
            yield b" " * 2**16
        yield content


def whole(content: bytes) -> Raw:
    """An ordinary answer."""
    yield _head(len(content)) + content


def bomb(content: bytes) -> Raw:
    """A good answer that is small on its way."""
    packed = gzip.compress(b" " * BOMB + content)
    yield _head(len(packed), "Content-Encoding: gzip\r\n") + packed


def _head(length: int, more: str = "") -> bytes:
    head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
    return f"{head}{more}Content-Length: {length}\r\n\r\n".encode()


def as_json(content: Any) -> bytes:
    """JSON as a careless server writes it, with NaN and Infinity."""
    return json.dumps(content).encode()


def _handler(server: RawServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._write()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._write()

        def _write(self) -> None:
            self.close_connection = True
            with suppress(OSError):
                for piece in server.answer(self.path):
                    self.wfile.write(piece)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
