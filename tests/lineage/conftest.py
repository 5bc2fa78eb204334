"""A small store and its index."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

from faq_pipeline.lineage.index import merge
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.store import Store
from tests.lineage.small_store import fill


@dataclass(frozen=True)
class Small:
    """A store, the artifacts of its cells by name, and the path of its index."""

    store: Store
    made: dict[str, Artifact]
    index: Path

    def ask(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Rows of a query over the index."""
        con = duckdb.connect(str(self.index), read_only=True)
        try:
            return con.execute(sql, list(parameters)).fetchall()
        finally:
            con.close()


@pytest.fixture
def small(tmp_path: Path) -> Small:
    """A filled store, not indexed yet."""
    store = Store(tmp_path / "store")
    return Small(store, fill(store), tmp_path / "lineage.duckdb")


@pytest.fixture
def indexed(small: Small) -> Small:
    """A filled store, indexed."""
    assert merge(small.store, small.index).problems == ()
    return small
