"""Open databases of Dagster's SQLite storages."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from dagster._core.storage import sql
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from sqlalchemy import Engine, create_engine

MOST_ENGINES = 8
"""SQLite databases that stay open: runs, the index of events, and the last runs' own events."""


def reuse_sqlite_engines() -> None:
    """Let Dagster's SQLite storages keep their databases open.

    Dagster makes a new SQLAlchemy engine for each query: it compiles the statement anew, opens the file,
    and on closing it writes the log back into the database. That is most of what a run of hits costs.
    """
    for module in (sqlite_event_log, sqlite_run_storage):
        module.create_engine = _engines.get  # type: ignore[attr-defined]
    # Each run's events are a new database, for which Dagster reads all its migrations twice.
    sql.ScriptDirectory = command.ScriptDirectory = _Migrations  # type: ignore[misc]


class _Migrations(ScriptDirectory):
    """Alembic's migrations of a storage, read once."""

    _known: ClassVar[dict[str | None, ScriptDirectory]] = {}

    @classmethod
    def from_config(cls, config: Config) -> ScriptDirectory:
        place = config.get_main_option("script_location")
        if place not in cls._known:
            cls._known[place] = ScriptDirectory.from_config(config)
        return cls._known[place]


class _Engines:
    """SQLAlchemy engines by database file, those used last."""

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[Any, ...], Engine] = OrderedDict()
        self._lock = Lock()

    def get(self, url: str, poolclass: object = None, **options: Any) -> Engine:
        """As `sqlalchemy.create_engine`; `poolclass`, which keeps nothing open, is left out."""
        try:
            file = Path(url.removeprefix("sqlite:///")).stat()
        except FileNotFoundError:  # made by the first query; the next one asks again
            return create_engine(url, **options)
        key = (os.getpid(), url, file.st_dev, file.st_ino)
        with self._lock:
            if key not in self._open:
                self._open[key] = _undisposable(create_engine(url, **options))
            self._open.move_to_end(key)
            while len(self._open) > MOST_ENGINES:
                Engine.dispose(self._open.popitem(last=False)[1])
            return self._open[key]


def _undisposable(engine: Engine) -> Engine:
    """The engine, whose pool survives the `dispose` with which Dagster ends each query."""
    engine.dispose = lambda close=True: None  # type: ignore[method-assign]
    return engine


_engines = _Engines()
