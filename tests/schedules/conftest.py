"""A site whose Dagster instance is real and its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance

from faq_pipeline.orchestration.runs import open_instance
from tests.site import Site, make_site


@pytest.fixture
def site(tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """tiny-s and tiny-l with all that `requantize` names, by runs that took 36 s a stage."""
    site = make_site(tmp_path, tiny_data)
    site.enter(monkeypatch)
    for member, recipe in (("tiny-s", "tiny-faq"), ("tiny-s", "tiny-self"), ("tiny-l", "tiny-self")):
        site.make(member, recipe)
    return site


@pytest.fixture
def instance(site: Site) -> Iterator[DagsterInstance]:
    with open_instance(site.settings) as instance:
        yield instance
