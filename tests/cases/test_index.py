"""A lineage index that opens and cannot be read is rebuilt, and a question to it is one line."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from faq_pipeline.errors import FaqError
from faq_pipeline.lineage.connection import reading
from faq_pipeline.lineage.index import merge, rebuild
from faq_pipeline.store.store import Store
from faq_pipeline.store.tables import Seed
from tests.cases.known_fault import known_fault
from tests.lineage.small_store import put

ARTIFACTS, SEEDS = 40, 300


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Seeds enough for an index of several megabytes: half of it has a whole header and lacks rows."""
    store = Store(tmp_path_factory.mktemp("index") / "store")
    drawn = random.Random(0)
    for number in range(ARTIFACTS):
        seeds = [
            Seed(f"s{number}-{j}", drawn.randbytes(200).hex(), "text", None, "d", "tests", "MIT")
            for j in range(SEEDS)
        ]
        put(store, "seed_data", identity={"number": number}, seeds=seeds)
    return store


@pytest.fixture(scope="module")
def whole_index(store: Store, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "lineage.duckdb"
    rebuild(store, path)
    return path.read_bytes()


def count_seeds(path: Path) -> int:
    """Seeds whose text can be read."""
    with reading(path) as connection:
        row = connection.execute("select count(text), max(text) from seeds").fetchone()
    assert row is not None
    return int(row[0])


def cut_in_half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip_bits(content: bytes) -> bytes:
    """In the middle half of the file, where rows lie, a byte in each 64 KiB is another."""
    spoilt = bytearray(content)
    for at in range(len(spoilt) // 4, len(spoilt) * 3 // 4, 1 << 16):
        spoilt[at] ^= 0xFF
    return bytes(spoilt)


@pytest.mark.parametrize("damage", [cut_in_half, flip_bits])
class TestDamagedIndex:
    @known_fault(
        "merge rebuilds an index that does not open, and not one that opens and cannot be read", duckdb.Error
    )
    def test_merge_rebuilds_it(
        self, store: Store, whole_index: bytes, tmp_path: Path, damage: Callable[[bytes], bytes]
    ) -> None:
        """After a merge or two, every row can be read again."""
        path = tmp_path / "lineage.duckdb"
        path.write_bytes(damage(whole_index))
        results = [merge(store, path) for _ in range(3)]
        assert not results[-1].pending
        assert count_seeds(path) == ARTIFACTS * SEEDS

    @known_fault("a query on an index that opens and cannot be read is a traceback of DuckDB", duckdb.Error)
    def test_a_question_to_it_is_one_line(
        self, whole_index: bytes, tmp_path: Path, damage: Callable[[bytes], bytes]
    ) -> None:
        """A query on the damaged index says in one line that it must be rebuilt."""
        path = tmp_path / "lineage.duckdb"
        path.write_bytes(damage(whole_index))
        refusal = ""
        try:
            count_seeds(path)
        except FaqError as error:
            refusal = str(error)
        assert "faq lineage rebuild" in refusal
        assert "\n" not in refusal
