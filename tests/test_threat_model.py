"""The threat model's page names a test for each of its lines, and those tests exist."""

from __future__ import annotations

import re

from faq_pipeline.settings import REPOSITORY

PAGE = (REPOSITORY / "docs/THREAT_MODEL.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def test_every_line_names_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    lines = [line for line in rows if "| Tests |" not in line]
    assert len(lines) > 20 and all(NAMED.search(line) for line in lines)


def test_the_named_tests_exist() -> None:
    named = NAMED.findall(PAGE)
    assert len(named) == PAGE.count("::test_")
    gone = [f"{path}::{name}" for path, name in named if not _exists(path, name)]
    assert gone == []


def _exists(path: str, name: str) -> bool:
    file = REPOSITORY / path
    return file.is_file() and re.search(rf"^def {name}\(", file.read_text(encoding="utf-8"), re.M) is not None
