"""A damaged result of a study is skipped and told."""

from __future__ import annotations

from pathlib import Path

import pytest

from faq_pipeline.store.store import Store
from faq_pipeline.study.design.cells import Design
from faq_pipeline.study.execution.results import Result, damaged_results, read_results, write_result
from faq_pipeline.study.execution.run import run_study
from tests.cases.test_ledger import Listener

RESULT = Result("cell", "d" * 20, True, {"eval_report": "f" * 20}, machine={"kind": "cpu"})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[" * 100_000,
        b"[]",
        b'{"id": "cell"}',
        b'{"id": "other", "declared": "d", "judged": true, "artifacts": {}}',
        b'{"id": "cell", "declared": "d", "judged": "yes", "artifacts": {}}',
        b'{"id": "cell", "declared": "d", "judged": true, "artifacts": ["f"]}',
        b'{"id": "cell", "declared": "d", "judged": true, "artifacts": {"eval_report": 5}}',
    ],
    ids=lambda content: repr(content[:40]),
)
def test_a_damaged_result_is_skipped_and_told(design: Design, tmp_path: Path, content: bytes) -> None:
    """The study goes on, and makes the cell again."""
    store, study = Store(tmp_path / "store"), design.study.name
    write_result(store, study, RESULT)
    assert read_results(store, study) == {"cell": RESULT} and damaged_results(store, study) == []
    (path,) = store.root.glob(".studies/*/*.json")
    path.write_bytes(content)
    assert read_results(store, study) == {} and damaged_results(store, study) == [path]
    listener = Listener()
    run_study(design, store, minutes=0, progress=listener)
    assert [note.partition(";")[0] for note in listener.notes] == [
        f"{path.parent}: 1 damaged result is ignored"
    ]
