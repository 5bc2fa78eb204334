"""A merge looks only at what changed, and the index is as one that is built from the store alone."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faq_pipeline.lineage.index import merge, rebuild
from faq_pipeline.lineage.uses import record_use
from faq_pipeline.store.artifact import MANIFEST
from faq_pipeline.store.store import Store
from tests.lineage.conftest import Small
from tests.lineage.small_store import FAQ, RTN, fill, note_uses
from tests.lineage.test_index import content
from tests.store.test_read_errors import failing

COUNTING = """
import sys
from pathlib import Path
from faq_pipeline.lineage.index import merge
from faq_pipeline.store.store import Store
looked, looks = [], ("open", "os.listdir", "os.scandir")
sys.addaudithook(lambda event, given: looked.append(str(given[0])) if event in looks else None)
result = merge(Store(Path(sys.argv[1])), Path(sys.argv[2]))
assert (result.merged, result.removed, result.pending) == (0, 0, False), result
print(sum(name.startswith(sys.argv[1]) for name in looked), "duckdb" in sys.modules)
"""


def looked_into(small: Small) -> str:
    """How many files and folders of the store a merge opens or lists, and whether it loads DuckDB."""
    command = [sys.executable, "-c", COUNTING, str(small.store.root), str(small.index)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_merge_with_nothing_new_lists_the_stores_own_folder_alone(indexed: Small) -> None:
    assert looked_into(indexed) == "1 False"
    for draw in range(1, 4):
        fill(indexed.store, draw=draw)
    merge(indexed.store, indexed.index)
    assert looked_into(indexed) == "1 False"


CHANGES: dict[str, Callable[[Small], object]] = {
    "more": lambda small: fill(small.store, draw=1),
    "more, unused": lambda small: fill(small.store, draw=2, note=False),
    "the same again": lambda small: fill(small.store, note=False),
    "scores removed": lambda small: small.store.remove(small.made["scores"]),
    "report removed": lambda small: small.store.remove(small.made["report"]),
    "used again": lambda small: note_uses(small.store, {"reference": small.made["reference"]}),
    "used by another": lambda small: record_use(
        small.store, "other@11112222|tiny-faq", "seed_data", small.made["seeds"].path.name
    ),
    "uses of a cell removed": lambda small: [
        path.unlink() for path in small.store.root.glob(f".uses/{FAQ}/seed_data/*.json")
    ],
    "merged": lambda small: merge(small.store, small.index),
    "cut off": lambda small: small.index.write_bytes(small.index.read_bytes()[:9000]),
}


@settings(max_examples=10)
@given(names=st.lists(st.sampled_from(sorted(CHANGES)), max_size=6))
def test_any_changes_end_as_a_rebuild_does(names: list[str]) -> None:
    with TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store")
        small = Small(store, fill(store), Path(folder) / "lineage.duckdb")
        merge(store, small.index)
        for name in names:
            CHANGES[name](small)
            if name == "uses of a cell removed":  # by hand; a run only ever adds some
                record_use(store, FAQ, "inference_traces", small.made["traces"].path.name)
        assert not merge(store, small.index).pending
        found = content(small.index)
        rebuild(store, small.index)
        assert content(small.index) == found


def test_uses_of_an_artifact_that_comes_back_are_known_again(indexed: Small) -> None:
    before = content(indexed.index)["cells"]
    indexed.store.remove(indexed.made["reference"])
    merge(indexed.store, indexed.index)
    fill(indexed.store, note=False)
    merge(indexed.store, indexed.index)
    assert content(indexed.index)["cells"] == before
    assert {row[2] for row in before if row[1] == "reference_eval"} == {FAQ, RTN}


@pytest.mark.parametrize("name", [MANIFEST, "candidates.parquet"])
def test_an_artifact_that_cannot_be_read_now_keeps_its_rows(
    indexed: Small, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(indexed.index)
    more = fill(indexed.store, draw=1)
    with failing(name, errno.EIO, monkeypatch):
        result = merge(indexed.store, indexed.index)
    assert not result.pending and any(name in line and "cannot be read" in line for line in result.problems)
    after = content(indexed.index)
    assert set(before["candidates"]) <= set(after["candidates"])
    assert set(before["artifacts"]) <= set(after["artifacts"])
    assert merge(indexed.store, indexed.index).problems == ()
    fingerprint = more["corpus"].fingerprint
    assert indexed.ask("SELECT count(*) FROM candidates WHERE fingerprint = ?", fingerprint) == [(9,)]


def test_a_store_below_a_folder_with_a_patterns_characters_is_indexed(tmp_path: Path) -> None:
    store = Store(tmp_path / "a [b]*?" / "store")
    fill(store)
    merge(store, tmp_path / "lineage.duckdb")
    assert [len(content(tmp_path / "lineage.duckdb")[name]) for name in ("seeds", "candidates")] == [3, 9]
