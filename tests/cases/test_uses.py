"""The files of uses: no change of their bytes makes another use, and none ends a merge."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faq_pipeline.lineage.index import merge
from faq_pipeline.lineage.uses import Use, damaged_uses, read_uses, record_use
from faq_pipeline.store.store import Store
from tests.cases.test_ledger import edit, mutated

PARTITION, STAGE = "m@01234567|r", "seed_data"


def recorded(root: Path) -> tuple[Store, Path, list[Use]]:
    """A store with one use, the use's file, and what is read of it."""
    store = Store(root / "store")
    record_use(store, PARTITION, STAGE, "a" * 20, {"base": "MIT"}, "cpu, draw 0")
    (path,) = store.root.glob(".uses/*/*/*.json")
    return store, path, read_uses(store)


@settings(max_examples=100)
@given(edits=st.lists(edit, min_size=1, max_size=4))
def test_no_change_of_bytes_makes_a_use(edits: list[tuple[int, int, bytes]]) -> None:
    with TemporaryDirectory() as folder:
        store, path, before = recorded(Path(folder))
        path.write_bytes(mutated(path.read_bytes(), edits))
        found = read_uses(store)
        assert found in ([], before)
        assert damaged_uses(store) == ({"a" * 20} if found == [] else set())


def test_a_use_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    store, path, (use,) = recorded(tmp_path)
    path.write_text(
        json.dumps({"used": use.used, "licences": {"base": "MIT"}, "setting": use.setting}) + "\n"
    )
    assert read_uses(store) == [use]
    path.write_text(json.dumps({"used": use.used, "licences": {}}))
    assert [one.setting for one in read_uses(store)] == [""]


@pytest.mark.parametrize(
    "content",
    [
        '{"used": 1e400, "licences": {}}',
        '{"used": %s, "licences": {}}' % ("9" * 5001),
        f'{{"used": {1 << 90}, "licences": {{}}}}',
        '{"used": 1, "licences": {"base": {"name": "MIT"}}}',
        '{"used": 1, "licences": [["base", "MIT"]]}',
        '{"used": 1, "licences": {}, "setting": null}',
        '{"used": 1, "licences": {}, "chacksum": "0123"}',
        "[" * 100_000,
    ],
    ids=lambda content: content[:30],
)
def test_a_use_of_another_shape_is_damaged_and_ends_no_merge(tmp_path: Path, content: str) -> None:
    store, path, _ = recorded(tmp_path)
    path.write_text(content)
    assert read_uses(store) == [] and damaged_uses(store) == {"a" * 20}
    assert not merge(store, tmp_path / "lineage.duckdb").pending
