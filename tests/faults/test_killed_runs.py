"""Runs killed with `kill -9` at random moments: the next one succeeds, and makes only what is missing.

`faq run` takes leases on made-up GPUs, and the slot of pool `gpu`; `dagster asset materialize` has a
process for each step. Killed are the process of a run alone, that of a step, or all of the run's.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

import pytest

from faq_pipeline.store.fingerprint import LENGTH
from tests.faults.killed_homes import Home, Victim, check_nothing_is_held, check_nothing_is_left, killed
from tests.faults.table import FaultTable

ALL = bool(os.environ.get("FAQ_ALL_MOMENTS"))
KILLS = {"faq_run": 30 if ALL else 2, "materialize": 15 if ALL else 1}
NAMES = {"faq_run": "`faq run`", "materialize": "`dagster asset materialize`"}
ATTEMPTS = 4
STAGES_HIT = 4
"""Of eight: at least so many must have been under way at some kill of `faq run`. Often no stage is: a
small run mostly imports."""


@dataclass(frozen=True)
class Undisturbed:
    """A run that nobody kills: digests and stages by fingerprint, and how many seconds it took."""

    digests: dict[str, str]
    stages: dict[str, str]
    seconds: float


@pytest.fixture(scope="module")
def undisturbed(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Undisturbed]:
    """One run by each command that is asked for."""
    return cache(lambda name: run_undisturbed(name, tmp_path_factory.mktemp(name), tiny_data))


def run_undisturbed(name: str, root: Path, data: Path) -> Undisturbed:
    home = Home.at(root, data)
    command = getattr(home, name)
    started = time.monotonic()
    assert home.start(command).wait() == 0, home.log.read_text()
    seconds = time.monotonic() - started
    stages = {a.fingerprint: a.manifest.stage for a in home.store.artifacts()}
    return Undisturbed(home.digests(), stages, seconds)


@pytest.fixture(scope="module")
def under_way() -> list[str]:
    """The stage that each kill of `faq run` fell into."""
    return []


def kills(name: str) -> list[tuple[float, Victim]]:
    """Shares of the undisturbed run's time, spread over all of it in a seeded order, and whom to kill."""
    count = KILLS[name]
    shares = [(i + 0.5) / count for i in range(count)]
    random.Random(7).shuffle(shares)
    # All steps of `faq run` are in its own process.
    victims = ("parent", "group") if name == "faq_run" else ("step", "parent", "group")
    return [(share, cast(Victim, victims[i % len(victims)])) for i, share in enumerate(shares)]


CASES = [
    pytest.param(name, share, victim, id=f"{name}-{share:.2f}-{victim}")
    for name in KILLS
    for share, victim in kills(name)
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "share", "victim"), CASES)
def test_the_run_after_a_kill_succeeds_and_makes_only_what_is_missing(
    name: str,
    share: float,
    victim: Victim,
    undisturbed: Callable[[str], Undisturbed],
    under_way: list[str],
    tiny_data: Path,
    tmp_path: Path,
    fault_table: FaultTable,
) -> None:
    calm = undisturbed(name)
    drawn = random.Random(share)
    with fault_table.trial(f"kills of {NAMES[name]}: step, parent or group"):
        home = killed_home(name, share * calm.seconds, victim, drawn, tmp_path, tiny_data)
        check_nothing_is_left(home)
        at_the_kill = stages_under_way(home, calm)
        print(f"{victim} killed at {share:.3f} of the time, stage under way: {at_the_kill}")
        if name == "faq_run":
            under_way.append(at_the_kill)
        survivors = list(home.store.folders())
        assert all(home.store.verify(artifact) == [] for artifact in survivors)
        assert home.digests().items() <= calm.digests.items()
        before = home.written()
        assert home.start(getattr(home, name)).wait() == 0, home.log.read_text()
        assert home.digests() == calm.digests
        assert before.items() <= home.written().items()  # nothing that was finished is made again
        check_nothing_is_held(home)


def killed_home(
    name: str, after: float, victim: Victim, drawn: random.Random, root: Path, data: Path
) -> Home:
    """A home whose run was killed; where it ended too soon, another whose run is killed earlier."""
    for attempt in range(ATTEMPTS):
        home = Home.at(root / str(attempt), data)
        home.faq.home.mkdir(parents=True)
        if killed(home, getattr(home, name), victim, after * (1 - attempt / ATTEMPTS), drawn):
            return home
    raise AssertionError("no kill hit a run under way")


def stages_under_way(home: Home, calm: Undisturbed) -> str:
    """What was being built when the run was killed, as the store's staging folder tells."""
    left = [path.name[:LENGTH] for path in (home.store.root / ".staging").glob("*")]
    return ", ".join(sorted(calm.stages[name] for name in left)) or "none"


@pytest.mark.slow
@pytest.mark.usefixtures("fault_table")
@pytest.mark.skipif(not ALL, reason="few moments need not meet many stages")
def test_the_kills_fell_into_different_stages(under_way: list[str]) -> None:
    assert len(under_way) == KILLS["faq_run"]
    assert len(set(under_way) - {"none"}) >= STAGES_HIT, under_way
