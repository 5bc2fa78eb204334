"""What the system says of disks, folders and files ends a command with one line, also in a stage."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from faq_pipeline.store.store import Store
from tests.cases.conftest import Lab

KINDS = [
    (errno.EXDEV, "a rename would cross file systems"),
    (errno.EROFS, "the file system is read-only"),
    (errno.ENOSPC, "no space left on the disk"),
    (errno.EIO, "Input/output error"),
]


def failing(number: int, below: Path) -> Callable[..., Path]:
    """A `Path.replace` that fails with this error for artifacts of a home."""
    replace = Path.replace

    def fail(self: Path, target: Path) -> Path:
        if below in self.parents:
            raise OSError(number, os.strerror(number), str(self), None, str(target))
        return replace(self, target)

    return fail


@pytest.mark.parametrize(("number", "says"), KINDS, ids=[says for _, says in KINDS])
def test_a_stage_that_the_disk_stops(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, says: str
) -> None:
    """The first artifact cannot be put in its place."""
    monkeypatch.setattr(Path, "replace", failing(number, tmp_path / "home/store"))
    told = lab.run()
    assert says in told.refusal and str(tmp_path / "home/store") in told.refusal, told.said


def test_a_bug_in_a_stage_keeps_its_traceback(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """So does a file that a stage should have made and has not."""
    for error in (TypeError("a bug"), FileNotFoundError(errno.ENOENT, "a bug", "rows.parquet")):

        def produce(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(Store, "produce", produce)
        told = lab.run()
        assert told.code == 1 and "Traceback" in told.said and "a bug" in told.said


def test_a_home_that_vanishes_during_a_run(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def produce(*_: object, **__: object) -> None:
        shutil.rmtree(tmp_path / "home")
        raise FileNotFoundError(errno.ENOENT, "gone", str(tmp_path / "home/store"))

    monkeypatch.setattr(Store, "produce", produce)
    told = lab.run()
    assert str(tmp_path / "home") in told.refusal, told.said


def test_a_file_in_the_place_of_dagsters_home(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/dagster").touch()
    told = lab.run()
    assert f"{tmp_path}/home/dagster: a file is where a folder is needed" in told.refusal, told.said


def test_a_home_that_is_a_file(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    assert "is a file" in lab.plan().refusal


def test_a_full_disk_under_dagsters_database(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("faq_pipeline.orchestration.runs.register_key", full)
    assert "database or disk is full" in lab.run().refusal
