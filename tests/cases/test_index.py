"""A lineage index that opens and cannot be read is rebuilt, and a question to it is one line."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from faq_pipeline.errors import FaqError
from faq_pipeline.lineage.connection import reading
from faq_pipeline.lineage.index import merge, rebuild
from faq_pipeline.lineage.merged import remember
from faq_pipeline.lineage.snapshot import Snapshot
from faq_pipeline.lineage.trace_queries import trace
from faq_pipeline.store.records import TABLES, Seed
from faq_pipeline.store.store import Store
from tests.faults.table import FaultTable
from tests.lineage.small_store import fill, put
from tests.lineage.test_index import KILLED, MERGE, another_process

ARTIFACTS, SEEDS = 10, 300
MOMENTS = 50 if os.environ.get("FAQ_ALL_MOMENTS") else 10


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Seeds enough for an index of several megabytes: half of it has a whole header and lacks rows."""
    store = Store(tmp_path_factory.mktemp("index") / "store")
    fill(store)
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


@pytest.fixture(scope="module")
def whole_rows(whole_index: bytes, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("rows") / "lineage.duckdb"
    path.write_bytes(whole_index)
    return rows(path)


def rows(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of the index."""
    with duckdb.connect(str(path), read_only=True) as con:
        tables = ["artifacts", "inputs", "cells", *TABLES, "calibration_lineage", "evaluation_lineage"]
        return {name: con.execute(f"FROM {name} ORDER BY ALL").fetchall() for name in tables}


def count_seeds(path: Path) -> int:
    """Seeds whose text can be read."""
    with reading(path) as connection:
        row = connection.execute("select count(text), max(text) from seeds").fetchone()
    assert row is not None
    return int(row[0])


def cut_in_half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip_bytes(content: bytes) -> bytes:
    """In the middle half of the file, where rows lie, a byte in each 64 KiB is another."""
    spoilt = bytearray(content)
    for at in range(len(spoilt) // 4, len(spoilt) * 3 // 4, 1 << 16):
        spoilt[at] ^= 0xFF
    return bytes(spoilt)


@pytest.mark.parametrize("damage", [cut_in_half, flip_bytes])
class TestDamagedIndex:
    def test_merge_rebuilds_it(
        self,
        store: Store,
        whole_index: bytes,
        whole_rows: dict[str, Any],
        tmp_path: Path,
        damage: Callable[[bytes], bytes],
    ) -> None:
        """After a merge every row can be read again."""
        path = tmp_path / "lineage.duckdb"
        path.write_bytes(damage(whole_index))
        assert not merge(store, path).pending
        assert rows(path) == whole_rows

    def test_a_question_to_it_is_one_line(
        self, whole_index: bytes, tmp_path: Path, damage: Callable[[bytes], bytes]
    ) -> None:
        """A query on the damaged index says in one line that it must be rebuilt."""
        path = tmp_path / "lineage.duckdb"
        path.write_bytes(damage(whole_index))
        with pytest.raises(FaqError, match="faq lineage rebuild") as refusal:
            count_seeds(path)
        assert "\n" not in str(refusal.value)

    def test_damage_that_only_a_question_finds_is_repaired_by_the_next_merge(
        self,
        store: Store,
        whole_index: bytes,
        whole_rows: dict[str, Any],
        tmp_path: Path,
        damage: Callable[[bytes], bytes],
    ) -> None:
        """Bits that rot below the file system change no time: the file looks as the last merge left it."""
        path = tmp_path / "lineage.duckdb"
        path.write_bytes(damage(whole_index))
        remember(path, Snapshot.take(store), problems=False)
        assert not merge(store, path).pending
        with pytest.raises(FaqError, match="faq lineage rebuild"):
            count_seeds(path)
        assert not merge(store, path).pending
        assert rows(path) == whole_rows


def drawn_damage(content: bytes, number: int) -> bytes:
    """A flipped bit anywhere, one in the headers, or a file that ends too early."""
    drawn = random.Random(number)
    if number % 5 == 4:
        return content[: drawn.randrange(len(content))]
    spoilt = bytearray(content)
    spoilt[drawn.randrange(3 * 4096 if number % 5 == 3 else len(spoilt))] ^= 1 << drawn.randrange(8)
    return bytes(spoilt)


@pytest.mark.parametrize("number", range(MOMENTS))
def test_any_flip_or_truncation_is_survived(
    number: int,
    store: Store,
    whole_index: bytes,
    whole_rows: dict[str, Any],
    tmp_path: Path,
    fault_table: FaultTable,
) -> None:
    """A trace gives the right answer or one line; after a merge, every row is as it was."""
    path = tmp_path / "lineage.duckdb"
    path.write_bytes(whole_index)
    right = trace(path, "s0")
    path.write_bytes(drawn_damage(whole_index, number))
    with fault_table.trial("flips and truncations of the lineage index"):
        try:
            assert trace(path, "s0") == right
        except FaqError as error:
            assert "\n" not in str(error)
        result = merge(store, path)
        assert not result.pending and not result.problems
        assert rows(path) == whole_rows


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict[str, bytes]]:
    """A store, and the files of its index as a merge left them that was killed before its end."""
    folder = tmp_path_factory.mktemp("killed")
    store, path = Store(folder / "store"), folder / "lineage.duckdb"
    fill(store)
    merge(store, path)
    fill(store, draw=1)
    with another_process(KILLED + MERGE, store.root, path) as process:
        process.communicate("go\n")
    files = {one.name: one.read_bytes() for one in (path, path.with_name(f"{path.name}.wal"))}
    return store, files


@pytest.mark.parametrize("number", range(MOMENTS // 5))
def test_any_damage_of_a_write_ahead_log_is_survived(
    number: int, killed: tuple[Store, dict[str, bytes]], tmp_path: Path, fault_table: FaultTable
) -> None:
    """A log that ends too early or has another bit: nothing of it is taken that was not written."""
    store, files = killed
    for name, content in files.items():
        spoilt = drawn_damage(content, 7 * number + 1) if name.endswith(".wal") else content
        (tmp_path / name).write_bytes(spoilt)
    path = tmp_path / "lineage.duckdb"
    with fault_table.trial("flips and truncations of the lineage index's log"):
        assert not merge(store, path).pending
        found = rows(path)
        rebuild(store, path)
        assert rows(path) == found
