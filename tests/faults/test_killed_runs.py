"""Runs killed with `kill -9` at seeded moments: nothing half-made is ever taken for a hit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from faq_pipeline.settings import REPOSITORY
from faq_pipeline.store.store import Store
from tests.pipeline.cli import Faq

RUN = ("run", "--member", "tiny-s", "--recipe", "tiny-faq")
MOMENTS, IN_CI = 20, 3


@pytest.fixture(scope="module")
def undisturbed(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], float]:
    """Digests by fingerprint of a run that nobody kills, and how long it took."""
    faq = Faq(tmp_path_factory.mktemp("undisturbed"), tiny_data)
    started = time.monotonic()
    done = faq(*RUN)
    assert done.returncode == 0, done.stderr
    return digests(faq), time.monotonic() - started


def digests(faq: Faq) -> dict[str, str]:
    return {a.fingerprint: a.digest for a in Store(faq.home / "store").artifacts()}


def killed_run(faq: Faq, after: float) -> bool:
    """Start a run in its own session and kill its whole group; whether it was still running."""
    process = subprocess.Popen(
        faq.command(*RUN),
        env=faq.environment,
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def moments() -> list[float]:
    """Shares of the undisturbed run's time, spread over all of it, in a seeded order."""
    shares = [(i + 0.5) / MOMENTS for i in range(MOMENTS)]
    random.Random(7).shuffle(shares)
    return shares if os.environ.get("FAQ_ALL_MOMENTS") else shares[:IN_CI]


@pytest.mark.slow
@pytest.mark.parametrize("share", moments())
def test_a_killed_run_leaves_nothing_that_is_taken_for_a_hit(
    share: float, undisturbed: tuple[dict[str, str], float], tiny_data: Path, tmp_path: Path
) -> None:
    expected, duration = undisturbed
    faq = Faq(tmp_path / "home", tiny_data)
    killed_run(faq, share * duration)
    store = Store(faq.home / "store")
    survivors = list(store.artifacts())
    assert all(store.verify(artifact) == [] for artifact in survivors)
    assert {a.fingerprint: a.digest for a in survivors}.items() <= expected.items()
    done = faq(*RUN)
    assert done.returncode == 0, done.stderr
    assert digests(faq) == expected
    assert not list((faq.home / "store/.staging").glob("*"))
