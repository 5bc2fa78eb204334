"""Runs killed with `kill -9` at seeded moments: nothing half-made is ever taken for a hit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from faq_pipeline.settings import REPOSITORY
from faq_pipeline.store.fingerprint import LENGTH
from faq_pipeline.store.store import Store
from tests.orchestration.cli import Faq

RUN = ("run", "--member", "tiny-s", "--recipe", "tiny-faq")
MOMENTS, IN_CI = 20, 3
ATTEMPTS = 4
STAGES_HIT = 4
"""Of eight: at least so many must have been under way at some kill. Half of the time no stage is: a
small run mostly imports."""


@dataclass(frozen=True)
class Undisturbed:
    """A run that nobody kills: digests and stages by fingerprint, and how long it took."""

    digests: dict[str, str]
    stages: dict[str, str]
    seconds: float


@pytest.fixture(scope="module")
def undisturbed(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    faq = Faq(tmp_path_factory.mktemp("undisturbed"), tiny_data)
    started = time.monotonic()
    done = faq(*RUN)
    assert done.returncode == 0, done.stderr
    seconds = time.monotonic() - started
    stages = {a.fingerprint: a.manifest.stage for a in Store(faq.home / "store").artifacts()}
    return Undisturbed(digests(faq), stages, seconds)


@pytest.fixture(scope="module")
def under_way() -> list[str]:
    """The stage that each kill fell into."""
    return []


def digests(faq: Faq) -> dict[str, str]:
    return {a.fingerprint: a.digest for a in Store(faq.home / "store").artifacts()}


def killed_run(faq: Faq, after: float) -> bool:
    """Start a run in its own session and kill its whole group; False if it had ended by then."""
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
        return process.wait() == -signal.SIGKILL
    return False


def killed_home(data: Path, root: Path, after: float) -> Faq:
    """A home whose run was killed; where it ended too soon, another whose run is killed earlier."""
    for attempt in range(ATTEMPTS):
        faq = Faq(root / f"home-{attempt}", data)
        if killed_run(faq, after * (1 - attempt / ATTEMPTS)):
            return faq
    raise AssertionError("no kill hit a run under way")


def stage_under_way(faq: Faq, undisturbed: Undisturbed) -> str:
    """What was being built when the run was killed, as the store's staging folder tells."""
    left = [path.name[:LENGTH] for path in (faq.home / "store/.staging").glob("*")]
    return ", ".join(sorted(undisturbed.stages[name] for name in left)) or "none"


def moments() -> list[float]:
    """Shares of the undisturbed run's time, spread over all of it, in a seeded order."""
    shares = [(i + 0.5) / MOMENTS for i in range(MOMENTS)]
    random.Random(7).shuffle(shares)
    return shares if os.environ.get("FAQ_ALL_MOMENTS") else shares[:IN_CI]


@pytest.mark.slow
@pytest.mark.parametrize("share", moments())
def test_a_killed_run_leaves_nothing_that_is_taken_for_a_hit(
    share: float,
    undisturbed: Undisturbed,
    under_way: list[str],
    tiny_data: Path,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    faq = killed_home(tiny_data, tmp_path, share * undisturbed.seconds)
    under_way.append(stage_under_way(faq, undisturbed))
    record_property("stage under way", under_way[-1])
    print(f"killed at {share:.3f} of the time, stage under way: {under_way[-1]}")
    store = Store(faq.home / "store")
    survivors = list(store.folders())
    assert all(store.verify(artifact) == [] for artifact in survivors)
    assert {a.fingerprint: a.digest for a in survivors}.items() <= undisturbed.digests.items()
    done = faq(*RUN)
    assert done.returncode == 0, done.stderr
    assert digests(faq) == undisturbed.digests
    assert not list((faq.home / "store/.staging").glob("*"))


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("FAQ_ALL_MOMENTS"), reason="three moments need not meet many stages")
def test_the_kills_fell_into_different_stages(under_way: list[str]) -> None:
    assert len(under_way) == MOMENTS
    assert len(set(under_way) - {"none"}) >= STAGES_HIT, under_way
