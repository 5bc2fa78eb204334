"""Local ports: finding a free one, and short HTTP requests to a local server."""

from __future__ import annotations

import http.client
import socket

HOST = "127.0.0.1"


def ask_server(port: int, path: str, *, timeout: float = 10.0) -> tuple[int, bytes]:
    """Status and body of a GET; status 0 for no answer. No proxy of the environment stands between."""
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
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
