"""Local ports: finding a free one, and short HTTP requests to a local server."""

from __future__ import annotations

import http.client
import socket
import time
from typing import Any

HOST = "127.0.0.1"
MOST_BYTES = 8 * 2**20
"""Of an answer."""


class _DeadlineSocket(socket.socket):
    """Waits for all that it receives together no longer than its deadline."""

    deadline = 0.0

    def recv_into(self, *arguments: Any, **more: Any) -> int:
        self.settimeout(max(0.001, self.deadline - time.monotonic()))
        return super().recv_into(*arguments, **more)


def ask_server(port: int, path: str, *, timeout: float = 10.0) -> tuple[int, bytes]:
    """Status and body of a GET; status 0 for no whole answer of bearable length in `timeout` seconds.

    No proxy of the environment stands between.
    """
    connection = http.client.HTTPConnection(HOST, port)
    with _DeadlineSocket(socket.AF_INET, socket.SOCK_STREAM) as link:
        link.deadline = time.monotonic() + timeout
        link.settimeout(timeout)
        try:
            link.connect((HOST, port))
            connection.sock = link
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read(MOST_BYTES + 1)
            return (response.status, body) if len(body) <= MOST_BYTES else (0, b"")
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()


def free_port() -> int:
    """A local port that is free now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether the port is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
