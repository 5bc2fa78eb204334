"""The table of faults: what tests add is summed, merged by file, and read back as it was written."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from tests.faults.table import Collect, Row, merged, read_table, write_table

TESTS = """
    import pytest
    from tests.faults.table import fault_table

    @pytest.mark.parametrize("moment", range(3))
    def test_kills(moment, fault_table):
        with fault_table.trial("kills"):
            assert moment != 1

    def test_flips(fault_table):
        fault_table.add("flips", trials=9000, survived=9000)

    def test_skipped(fault_table):
        with fault_table.trial("kills"):
            pytest.skip("no kernel for it")

    def test_adds_nothing():
        raise RuntimeError("is not selected")
"""


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Collect:
    """What a run of these tests added."""
    folder = tmp_path_factory.mktemp("faults")
    file = folder / "test_some_faults.py"
    file.write_text(textwrap.dedent(TESTS))
    collect = Collect("0123abcd")
    pytest.main(
        ["-p", "no:cacheprovider", f"--rootdir={folder}", f"--confcutdir={folder}", str(file)],
        plugins=[collect],
    )
    return collect


def row(kind: str, trials: int, survived: int, file: str, commit: str = "0123abcd") -> Row:
    return Row(kind, trials, survived, f"python -m tests.faults {file}", commit)


def test_rows_are_summed_by_kind_and_a_failed_trial_was_not_survived(collected: Collect) -> None:
    file = "test_some_faults.py"
    assert collected.rows == {
        ("kills", file): row("kills", 3, 2, file),
        ("flips", file): row("flips", 9000, 9000, file),
    }


def test_a_run_of_some_files_replaces_their_rows_alone(collected: Collect, tmp_path: Path) -> None:
    other = row("damage of a ledger", 18, 18, "tests/store/test_ledger.py", "89ab4567+")
    old = [row("kills", 1, 1, "test_some_faults.py"), row("gone", 1, 1, "test_some_faults.py"), other]
    fresh = sorted(collected.rows.values(), key=lambda one: one.kind)
    assert merged(old, collected, whole=True) == fresh
    assert merged(old, collected, whole=False) == [*fresh, other]
    page = tmp_path / "FAULTS.md"
    assert read_table(page) == []
    write_table(page, [*fresh, other])
    assert read_table(page) == [*fresh, other]
