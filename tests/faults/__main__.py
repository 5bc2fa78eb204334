"""Run the tests of faults at all their moments, and write docs/FAULTS.md; see `tests.faults.table`."""

from __future__ import annotations

import os
import sys

import pytest

from tests.faults.table import TABLE, Collect, commit, merged, read_table, write_table


def main(arguments: list[str]) -> int:
    """Run the tests of these paths, or all, with pytest's options; returns pytest's exit code."""
    os.environ.setdefault("FAQ_ALL_MOMENTS", "1")
    collect = Collect(commit())
    code = pytest.main(["-p", "no:cacheprovider", *arguments], plugins=[collect])
    whole = all(argument.startswith("-") for argument in arguments)
    write_table(TABLE, merged(read_table(TABLE), collect, whole))
    for row in collect.rows.values():
        print(row)
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
