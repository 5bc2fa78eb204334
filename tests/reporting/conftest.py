"""A finished cell with its baseline, and a browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faq_pipeline.config.catalog import Catalog
from faq_pipeline.core.resolver import resolve_cell
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.execution.runner import materialize
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.store import Store
from tests.orchestration.conftest import faq, pipeline_data

__all__ = ["faq", "pipeline_data"]


class Finished:
    """A home with `tiny-beside` and its baseline evaluated, and its artifacts by stage."""

    def __init__(self, data: Path, home: Path) -> None:
        self.data, self.home = data, home
        self.artifacts: dict[str, dict[str, Artifact]] = {}
        catalog, store = Catalog((data,)), Store(home / "store")
        for recipe in ("tiny-original", "tiny-beside"):
            cell = resolve_cell(catalog, "tiny-s", catalog.recipe(recipe), "cpu", home / "digests")
            self.artifacts[recipe] = {
                name: materialize(name, cell, STAGES, store).artifact for name in STAGES
            }


@pytest.fixture(scope="package")
def finished(pipeline_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return Finished(pipeline_data, tmp_path_factory.mktemp("finished"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no browser here: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()
