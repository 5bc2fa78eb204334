"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from faq_pipeline.config.catalog import Catalog
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.resolver import resolve_cell
from tests.faults.table import fault_table
from tests.tiny import make_family

__all__ = ["fault_table"]

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

# How long an example takes is the machine's affair, and examples may share a test's fixtures: no test
# sets either for itself.
settings.register_profile(
    "faq", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
settings.load_profile("faq")

# A shell has its background jobs ignore SIGINT; Dagster would then have SIGTERM ignored too, and so
# would every process that a test starts and ends.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests go first: one that began last would leave the other processes idle."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the family `tiny`: random weights, real files. Read-only: copy to change."""
    return make_family(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_cell(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Cell:
    """Target tiny-s, teacher tiny-l, recipe tiny-faq, on the CPU."""
    catalog = Catalog((tiny_data,))
    digests = tmp_path_factory.mktemp("digests")
    return resolve_cell(catalog, "tiny-s", catalog.recipe("tiny-faq"), "cpu", digests)
