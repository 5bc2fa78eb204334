"""What `make` hands to its commands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from faq_pipeline.settings import REPOSITORY

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make here")


def dagster_home(**environment: str) -> str:
    kept = {k: v for k, v in os.environ.items() if k not in ("DAGSTER_HOME", "FAQ_HOME")}
    show = "--eval=show: ; @echo $$DAGSTER_HOME"
    done = subprocess.run(
        ["make", "--silent", show, "show"],
        cwd=REPOSITORY,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_dagsters_home_follows_ours(tmp_path: Path) -> None:
    assert dagster_home() == str(REPOSITORY / ".faq/dagster")
    assert dagster_home(FAQ_HOME=str(tmp_path)) == str(tmp_path / "dagster")
    assert dagster_home(FAQ_HOME="elsewhere") == str(REPOSITORY / "elsewhere/dagster")
    assert dagster_home(FAQ_HOME="~/faq", HOME=str(tmp_path)) == str(tmp_path / "faq/dagster")
    assert dagster_home(FAQ_HOME=str(tmp_path), DAGSTER_HOME="/d") == "/d"


@pytest.mark.parametrize("name", ["Makefile", "README.md"])
def test_the_pages_that_are_named_are_there(name: str) -> None:
    # Not the files in a user's home that a transcript shows.
    named = re.findall(r"(?<![\w/])(?:docs|data|training)/[\w./-]+\.\w+", (REPOSITORY / name).read_text())
    assert named and [path for path in named if not (REPOSITORY / path).is_file()] == []
