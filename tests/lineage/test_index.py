"""The index follows the store, can be made anew, and never holds a run up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest
from filelock import FileLock

from faq_pipeline.lineage.index import merge, rebuild
from faq_pipeline.lineage.uses import record_use
from faq_pipeline.store.records import TABLES
from tests.lineage.conftest import Small
from tests.lineage.small_store import FAQ, RTN, fill

ALL_TABLES = ["artifacts", "inputs", "cells", *TABLES]
VIEWS = [
    "edges", "origins", "groups", "winners", "losers", "calibration_lineage", "evaluation_lineage",
]  # fmt: skip


def content(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    con = duckdb.connect(str(path), read_only=True)
    try:
        return {name: con.execute(f"FROM {name} ORDER BY ALL").fetchall() for name in [*ALL_TABLES, *VIEWS]}
    finally:
        con.close()


@contextmanager
def another_process(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Python code in a process of its own, once it has said that it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline().strip() == "ready"
        yield process
    finally:
        process.kill()
        process.communicate()


SHELL = """
import sys, duckdb
con = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "r")
print("ready", flush=True)
sys.stdin.read()
"""


def test_all_rows_enter_under_their_artifact(indexed: Small) -> None:
    assert indexed.ask("SELECT count(*) FROM artifacts") == [(10,)]
    expected = {"seeds": 3, "candidates": 9, "scores": 18, "standings": 9, "samples": 3}
    for table, rows in expected.items():
        assert indexed.ask(f"SELECT count(*) FROM {table}") == [(rows,)]
    corpus = indexed.made["corpus"]
    assert indexed.ask("SELECT DISTINCT fingerprint FROM candidates") == [(corpus.fingerprint,)]
    assert indexed.ask(
        "SELECT stage, digest, path, identity->>'draw', CAST(metadata->>'rows' AS INT) FROM artifacts"
        " WHERE fingerprint = ?",
        corpus.fingerprint,
    ) == [("regenerated_corpus", corpus.digest, f"regenerated_corpus/{corpus.fingerprint}", "0", 9)]


def test_a_second_merge_has_nothing_to_do(indexed: Small) -> None:
    before = content(indexed.index)
    again = merge(indexed.store, indexed.index)
    assert (again.merged, again.removed, again.pending) == (0, 0, False)
    assert content(indexed.index) == before


def test_merges_step_by_step_equal_one_rebuild(small: Small) -> None:
    merge(small.store, small.index)
    more = fill(small.store, draw=1)
    assert merge(small.store, small.index).merged == 6  # traces, reference, rtn and its report stay
    small.store.remove(small.made["scores"])
    small.store.remove(more["seeds"])
    assert merge(small.store, small.index).removed == 2
    stepwise = content(small.index)
    small.index.unlink()
    assert rebuild(small.store, small.index).merged == 14
    assert content(small.index) == stepwise
    assert all(stepwise[name] for name in ALL_TABLES if name != "fitness")


def test_a_removed_artifact_leaves_no_row(indexed: Small) -> None:
    gone = indexed.made["corpus"].fingerprint
    indexed.store.remove(indexed.made["corpus"])
    assert merge(indexed.store, indexed.index).removed == 1
    for table in ALL_TABLES:
        assert indexed.ask(f"SELECT * FROM {table} WHERE fingerprint = ?", gone) == []
    assert indexed.ask("SELECT * FROM edges WHERE parent_fingerprint = ?", gone) == []


def test_an_artifact_made_anew_under_its_fingerprint_replaces_its_rows(indexed: Small) -> None:
    indexed.store.remove(indexed.made["seeds"])
    fill(indexed.store)
    manifest = indexed.made["seeds"].path / "manifest.json"
    os.utime(manifest, ns=(1, 1))  # a coarse clock must not hide that it is another one
    assert merge(indexed.store, indexed.index).merged == 1
    assert indexed.ask("SELECT count(*) FROM seeds") == [(3,)]


def test_a_child_keeps_its_lineage_when_its_parent_is_replaced_by_an_equal(small: Small) -> None:
    """Upstream is keyed anew (a new stage version, say) with the same bytes; the old one is collected."""
    twin = fill(small.store, draw=1, note=False)["seeds"]
    assert twin.digest == small.made["seeds"].digest
    small.store.remove(small.made["seeds"])
    merge(small.store, small.index)
    calibration = small.made["calibration"].fingerprint
    sql = "SELECT parent_fingerprint FROM origins WHERE child_fingerprint = ? AND parent_stage = ?"
    assert small.ask(sql, calibration, "seed_data") == [(twin.fingerprint,)]
    rows = small.ask(
        "SELECT seed_text FROM calibration_lineage WHERE calibration_fingerprint = ?", calibration
    )
    assert len(rows) == 3 and all(text for (text,) in rows)


def test_equal_parents_do_not_double_a_sample(small: Small) -> None:
    fill(small.store, draw=1)
    merge(small.store, small.index)
    first = small.made["calibration"].fingerprint
    assert small.ask(
        "SELECT count(*), count(DISTINCT sample_id) FROM calibration_lineage"
        " WHERE calibration_fingerprint = ?",
        first,
    ) == [(3, 3)]
    parents = "SELECT made_from FROM edges JOIN artifacts a ON a.fingerprint = parent_fingerprint"
    both = small.ask(parents + " WHERE child_fingerprint = ? AND a.stage = 'seed_data' ORDER BY ALL", first)
    assert both == [(False,), (True,)]


@pytest.mark.parametrize("mode", ["w", "r"])
def test_a_shell_that_holds_the_file_delays_the_index_only(indexed: Small, mode: str) -> None:
    fill(indexed.store, draw=1)
    with another_process(SHELL, indexed.index, mode):
        started = time.monotonic()
        result = merge(indexed.store, indexed.index)
        assert time.monotonic() - started < 1.5
        assert result.pending and result.merged == 0 and result.reason
    assert merge(indexed.store, indexed.index).merged == 6


def test_a_rebuild_does_not_wait_for_a_shell(indexed: Small) -> None:
    before = content(indexed.index)
    with another_process(SHELL, indexed.index, "w"):
        assert rebuild(indexed.store, indexed.index).merged == 10
        assert content(indexed.index) == before


def test_a_merge_at_work_elsewhere_is_not_waited_for(small: Small) -> None:
    with FileLock(f"{small.index}.lock"):
        started = time.monotonic()
        assert merge(small.store, small.index).pending
        assert time.monotonic() - started < 1.5


MERGE = """
import sys
from pathlib import Path
from faq_pipeline.lineage.index import merge
from faq_pipeline.store.store import Store
print("ready", flush=True)
sys.stdin.readline()
for _ in range(20):
    result = merge(Store(Path(sys.argv[1])), Path(sys.argv[2]))
    if not result.pending:
        break
"""

KILLED = (
    "import os, signal, faq_pipeline.lineage.ingest as rows\n"
    "rows.refresh_cells = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
)
"""Before `MERGE`: it is killed when all rows but those of `cells` are in."""


def test_processes_that_merge_at_once_enter_each_artifact_once(small: Small) -> None:
    arguments = (MERGE, small.store.root, small.index)
    with another_process(*arguments) as one, another_process(*arguments) as other:
        for process in (one, other):
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        assert one.wait(60) == 0 and other.wait(60) == 0
    found = content(small.index)
    rebuild(small.store, small.index)
    assert found == content(small.index)


def test_a_killed_merge_is_repaired(small: Small) -> None:
    with another_process(KILLED + MERGE, small.store.root, small.index) as process:
        process.communicate("go\n")
        assert process.returncode == -signal.SIGKILL
    assert not merge(small.store, small.index).pending
    found = content(small.index)
    rebuild(small.store, small.index)
    assert found == content(small.index) and found["cells"]


@pytest.mark.parametrize("spoilt", ["version", "no index", "garbage"])
def test_an_index_of_another_make_is_rebuilt(indexed: Small, spoilt: str) -> None:
    before = content(indexed.index)
    if spoilt == "garbage":
        indexed.index.write_bytes(b"not a database" * 1000)
    else:
        con = duckdb.connect(str(indexed.index))
        con.execute("UPDATE schema_version SET version = 0")
        if spoilt == "no index":
            con.execute("DROP TABLE schema_version")
        con.close()
    assert merge(indexed.store, indexed.index).merged == 10
    assert content(indexed.index) == before


def test_a_stale_write_ahead_log_is_not_played_into_a_rebuilt_index(indexed: Small) -> None:
    before = content(indexed.index)
    indexed.index.with_name("lineage.duckdb.wal").write_bytes(b"of another database" * 100)
    rebuild(indexed.store, indexed.index)
    assert content(indexed.index) == before
    assert sorted(path.name for path in indexed.index.parent.glob("lineage*")) == [
        "lineage.duckdb",
        "lineage.duckdb.lock",
    ]


def test_a_corrupt_table_is_noted_and_the_rest_enters(small: Small) -> None:
    corpus = small.made["corpus"].file("candidates.parquet")
    sound = corpus.read_bytes()
    corpus.write_bytes(sound[:40] + b"\0\0\0\0" + sound[44:])
    result = merge(small.store, small.index)
    assert not result.pending and result.merged == 9
    assert result.problems == (f"{corpus}: bytes differ from the manifest",)
    assert small.ask("SELECT count(*) FROM samples") == [(3,)]
    assert small.ask("SELECT problem FROM indexed WHERE problem IS NOT NULL") == [result.problems]
    assert merge(small.store, small.index).problems == result.problems
    corpus.write_bytes(sound)
    assert merge(small.store, small.index).merged == 1
    assert small.ask("SELECT count(*) FROM candidates") == [(9,)]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"stage": 1}'])
def test_a_corrupt_manifest_is_noted(small: Small, text: str) -> None:
    (small.made["seeds"].path / "manifest.json").write_text(text)
    result = merge(small.store, small.index)
    assert result.merged == 9 and "manifest.json" in result.problems[0]


def test_a_table_of_an_older_record_enters_with_nulls(small: Small) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from faq_pipeline.store.store import Key

    def build(folder: Path) -> dict[str, Any]:
        table = pa.table({"id": ["old"], "text": ["An old seed."], "colour": ["red"]})
        pq.write_table(table, folder / "seeds.parquet")
        return {}

    small.store.produce(Key("seed_data", 0, "0" * 20, {}, {}, {}), build)
    assert merge(small.store, small.index).problems == ()
    assert small.ask("SELECT text, licence FROM seeds WHERE id = 'old'") == [("An old seed.", None)]


def test_cells_know_every_use_and_the_newest(indexed: Small) -> None:
    reference = indexed.made["reference"].fingerprint
    sql = 'SELECT "partition", member, recipe, current FROM cells WHERE fingerprint = ? ORDER BY ALL'
    assert indexed.ask(sql, reference) == [
        (FAQ, "tiny-s@11112222", "tiny-faq", True),
        (RTN, "tiny-s@11112222", "tiny-rtn", True),
    ]
    newer = fill(indexed.store, draw=1)
    merge(indexed.store, indexed.index)
    current = "SELECT current FROM cells WHERE fingerprint = ?"
    assert indexed.ask(current, newer["checkpoint"].fingerprint) == [(True,)]
    assert indexed.ask(current, indexed.made["checkpoint"].fingerprint) == [(False,)]
    record_use(indexed.store, FAQ, "quantized_checkpoint", indexed.made["checkpoint"].fingerprint)
    merge(indexed.store, indexed.index)
    assert indexed.ask(current, indexed.made["checkpoint"].fingerprint) == [(True,)]
    assert indexed.ask(current, newer["checkpoint"].fingerprint) == [(False,)]


def test_a_damaged_use_is_passed_over(small: Small) -> None:
    for path in small.store.root.glob(".uses/*tiny-rtn/*/*.json"):
        path.write_text("")
    merge(small.store, small.index)
    assert small.ask("SELECT DISTINCT recipe FROM cells") == [("tiny-faq",)]


def test_uses_are_no_artifacts(small: Small) -> None:
    assert {artifact.manifest.stage for artifact in small.store.artifacts()} == {
        artifact.manifest.stage for artifact in small.made.values()
    }


def test_an_index_that_cannot_be_written_is_pending(small: Small, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert merge(small.store, blocked / "lineage.duckdb").pending


def test_importing_the_index_does_not_load_duckdb() -> None:
    code = (
        "import sys, faq_pipeline.lineage.index, faq_pipeline.lineage.uses\n"
        "import faq_pipeline.lineage.trace_queries\n"
        "print(sorted({'duckdb', 'torch', 'pandas', 'dagster'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
