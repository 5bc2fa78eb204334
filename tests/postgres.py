"""A PostgreSQL server of a test's own, on a free port, with a random password."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.services import free_port, until

USER = "faq"
NOBODY = "nobody"
"""PostgreSQL refuses to run as root."""


def find_binaries() -> Path | None:
    """The folder with `initdb`; Debian keeps it out of the path."""
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    wanted = ("initdb", "postgres", "pg_isready", "pg_dump")
    return next((place for place in places if all((place / name).exists() for name in wanted)), None)


@dataclass(frozen=True)
class Postgres:
    """A running server."""

    binaries: Path
    port: int
    password: str

    @property
    def environment(self) -> dict[str, str]:
        """As the deployment is told of it."""
        return {
            "FAQ_PG_HOST": "127.0.0.1",
            "FAQ_PG_PORT": str(self.port),
            "FAQ_PG_USER": USER,
            "FAQ_PG_PASSWORD": self.password,
            "FAQ_PG_DB": "postgres",
        }

    def ready(self) -> bool:
        command = [str(self.binaries / "pg_isready"), "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def dump(self) -> str:
        """All that is in the database."""
        command = [
            str(self.binaries / "pg_dump"),
            "-h",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-U",
            USER,
            "postgres",
        ]
        environment = {**os.environ, "PGPASSWORD": self.password}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


@contextmanager
def postgres_server(binaries: Path) -> Iterator[Postgres]:
    """Start one in a folder that goes with it."""
    server = Postgres(binaries, free_port(), secrets.token_urlsafe(24))
    folder = Path(tempfile.mkdtemp(prefix="faq-postgres-"))
    other: dict[str, Any] = {"user": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    try:
        (folder / "password").write_text(server.password)
        if other:
            for path in (folder, folder / "password"):
                shutil.chown(path, NOBODY)
        making = [str(binaries / "initdb"), "-D", str(folder / "data"), "--username", USER, "--no-sync"]
        subprocess.run(
            [*making, "--auth=scram-sha-256", "--pwfile", str(folder / "password")],
            cwd=folder,
            capture_output=True,
            check=True,
            **other,
        )
        command = [
            str(binaries / "postgres"),
            "-D",
            str(folder / "data"),
            "-p",
            str(server.port),
            "-k",
            str(folder),
        ]
        with subprocess.Popen(
            [*command, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"],
            cwd=folder,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            **other,
        ) as process:
            try:
                until("PostgreSQL", server.ready, 120)
                yield server
            finally:
                process.send_signal(signal.SIGINT)  # ends at once, and leaves nothing behind
    finally:
        shutil.rmtree(folder, ignore_errors=True)
