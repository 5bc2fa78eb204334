"""Data folders with a study of the tiny family."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from faq_pipeline.study.design.cells import Design
from tests.study.tiny_study import designed, write_study


@pytest.fixture
def data(tiny_data: Path, tmp_path: Path) -> Path:
    """A copy of the tiny family's folder; models are linked."""
    root = tmp_path / "data"
    root.mkdir()
    for folder in tiny_data.iterdir():
        if folder.name == "models":
            (root / folder.name).symlink_to(folder)
        else:
            shutil.copytree(folder, root / folder.name)
    return root


@pytest.fixture
def design(data: Path, tmp_path: Path) -> Design:
    write_study(data)
    return designed(data, tmp_path / "digests")
