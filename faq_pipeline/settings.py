"""Where things are: the data folders, the artifact store, the lineage index, Dagster's home.

Everything has a default inside the repository and can be moved by an environment variable:

- `FAQ_HOME`: artifacts, lineage index and Dagster's home (default `.faq` in the repository).
- `FAQ_DATA`: more folders with `families/` and `recipes/`, separated by `:`.
- `FAQ_DEVICE`: `auto` (default), `cpu` or `cuda`.
- `DAGSTER_HOME`: default `$FAQ_HOME/dagster`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from faq_pipeline.config.catalog import Catalog
from faq_pipeline.store.store import Store

REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Settings:
    """The places of one installation."""

    home: Path
    data: tuple[Path, ...]
    device: str

    @classmethod
    def from_environment(cls) -> Settings:
        """Read the environment variables above."""
        home = Path(os.environ.get("FAQ_HOME") or REPOSITORY / ".faq").absolute()
        more = [Path(part).absolute() for part in os.environ.get("FAQ_DATA", "").split(":") if part]
        return cls(home, (REPOSITORY / "data", *more), os.environ.get("FAQ_DEVICE") or "auto")

    @cached_property
    def catalog(self) -> Catalog:
        """Families and recipes, read once."""
        return Catalog(self.data)

    @property
    def store(self) -> Store:
        return Store(self.home / "store")

    @property
    def digests(self) -> Path:
        """Remembered digests of local weight files."""
        return self.home / "digests"

    @property
    def lineage(self) -> Path:
        """The DuckDB index."""
        return self.home / "lineage.duckdb"

    def dagster_home(self) -> Path:
        """Dagster's home, made if need be, with the repository's `dagster.yaml` linked into it."""
        home = Path(os.environ.get("DAGSTER_HOME") or self.home / "dagster").absolute()
        home.mkdir(parents=True, exist_ok=True)
        config = home / "dagster.yaml"
        if not config.exists():
            config.unlink(missing_ok=True)  # a link to where the repository once was
            config.symlink_to(REPOSITORY / "dagster.yaml")
        return home
