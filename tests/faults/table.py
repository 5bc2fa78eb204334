"""The table of faults in docs/FAULTS.md: what was tried, how often, and how often it was survived.

A test adds to it through the fixture `fault_table`, which every test has:

    def test_a_damaged_line_is_skipped(damage: str, fault_table: FaultTable) -> None:
        with fault_table.trial("damage of a ledger's line"):
            ...             # one trial; it was survived if the block ends without an exception

    def test_every_flipped_bit_is_found(fault_table: FaultTable) -> None:
        ...
        fault_table.add("flipped bits of an artifact", trials=9000, survived=9000 - len(unseen))
        assert unseen == []

A kind is a short noun phrase. What tests (parameters, files of one folder) add to one kind is summed.
`trial` lets the exception through, so that the test fails as without it. Under a plain pytest the
fixture changes nothing.

`python -m tests.faults` (`make faults`) runs every test that has the fixture, with FAQ_ALL_MOMENTS=1,
and writes the table. `python -m tests.faults PATHS...` runs those of some files or folders and replaces
their rows only. Each row has the commit that it was run at, `+` after one with changes in the tree.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from faq_pipeline.settings import REPOSITORY

TABLE = REPOSITORY / "docs/FAULTS.md"
FIXTURE, PROPERTY = "fault_table", "fault"
RUN = "python -m tests.faults"
HEAD = f"""\
# Faults

Faults that the tests bring about, and how many the pipeline survived: no result is lost, made twice or
wrong, and nothing stays held. [RELIABILITY.md](RELIABILITY.md) says by what means. `make faults` writes
this table; `{RUN} PATHS...` replaces the rows of some files. Only what ran is listed, with its commit.

| kind | trials | survived | command | commit |
|---|---:|---:|---|---|
"""


class FaultTable:
    """What one test adds to the table (see this module)."""

    def __init__(self, properties: list[tuple[str, object]]) -> None:
        self._properties = properties

    def add(self, kind: str, trials: int, survived: int) -> None:
        """Add to the row of a kind."""
        assert 0 <= survived <= trials and "|" not in kind
        self._properties.append((PROPERTY, [kind, trials, survived]))

    @contextmanager
    def trial(self, kind: str) -> Iterator[None]:
        """One trial, survived if the block ends without an exception. A skipped one does not count."""
        try:
            yield
        except (pytest.skip.Exception, KeyboardInterrupt):
            raise
        except BaseException:
            self.add(kind, 1, 0)
            raise
        self.add(kind, 1, 1)


@pytest.fixture(name=FIXTURE)
def fault_table(request: pytest.FixtureRequest) -> FaultTable:
    """Adds to the table of faults; tests/faults/table.py says how."""
    return FaultTable(request.node.user_properties)


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    kind: str
    trials: int
    survived: int
    command: str
    commit: str

    def __str__(self) -> str:
        return f"| {self.kind} | {self.trials:,} | {self.survived:,} | `{self.command}` | {self.commit} |"

    @classmethod
    def parse(cls, line: str) -> Row:
        """The row that was written as this line."""
        kind, trials, survived, command, commit = (cell.strip() for cell in line.strip("| ").split(" | "))
        whole = [int(number.replace(",", "")) for number in (trials, survived)]
        return cls(kind, whole[0], whole[1], command.strip("`"), commit)


class Collect:
    """A pytest plugin that selects the tests with the fixture and sums what they add.

    Attributes:
        rows: by kind and file.
        files: those whose tests ran.
    """

    def __init__(self, commit: str) -> None:
        self._commit = commit
        self.rows: dict[tuple[str, str], Row] = {}
        self.files: set[str] = set()

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        kept = [item for item in items if FIXTURE in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call":
            return
        file = report.nodeid.partition("::")[0]
        if not report.skipped:
            self.files.add(file)
        for name, value in report.user_properties:
            if name == PROPERTY:
                kind, trials, survived = value  # type: ignore[misc]
                empty = Row(kind, 0, 0, f"{RUN} {file}", self._commit)
                row = self.rows.get((kind, file), empty)
                self.rows[kind, file] = replace(
                    row, trials=row.trials + trials, survived=row.survived + survived
                )


def merged(old: Sequence[Row], new: Collect, whole: bool) -> list[Row]:
    """The rows of the table after a run of all tests (`whole`) or of some files."""
    commands = {f"{RUN} {file}" for file in new.files}
    kept = [] if whole else [row for row in old if row.command not in commands]
    return sorted([*kept, *new.rows.values()], key=lambda row: (row.command, row.kind))


def read_table(path: Path) -> list[Row]:
    """The rows that the file has; none where it is not there."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    table = [line for line in lines if line.startswith("| ")]
    return [Row.parse(line) for line in table[1:]]


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Write the page with these rows."""
    path.write_text(HEAD + "".join(f"{row}\n" for row in rows), encoding="utf-8")


def commit() -> str:
    """The commit that is checked out, with `+` where files differ from it."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--", ".", f":!{TABLE.relative_to(REPOSITORY)}")
    return git("rev-parse", "--short=8", "HEAD") + ("+" if changed else "")
