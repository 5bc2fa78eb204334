"""Any order of releases, pushes, rollbacks, withdrawals, faults and killed daemons ends in the truth."""

from __future__ import annotations

import random

import pytest

from faq_pipeline.orchestration.automation import discovery, releases
from faq_pipeline.registry.registry import load
from tests.automation.site import BILLION, Site

SIZES = {"Ace-1B": 1, "Ace-3B": 3, "Ace-7B": 7, "Ace-9B": 9}
FAULTS = ("drop", "500", "429", "not json", "object", "no sha", "empty list", "half list", "no sizes")


class History:
    """What happened to the hub, in an order that a seed decides, and what must have come of it."""

    def __init__(self, site: Site, seed: int) -> None:
        self._site, self._random = site, random.Random(seed)
        self._commits: dict[str, list[str]] = {"Ace-1B": [site.hub.read("acme/Ace-1B").main]}
        self.log: list[str] = []

    def step(self) -> None:
        deeds = [self._push, self._push, self._roll_back, self._withdraw, self._fail, *[self._tick] * 4]
        self._random.choice(deeds)()

    def _push(self) -> None:
        name = self._random.choice([*SIZES, "Ace-9B-GPTQ"])
        size = SIZES.get(name, 9) * BILLION
        known = name in self._commits
        act = self._site.hub.push if known else self._site.hub.add
        self._commits.setdefault(name, []).append(act(f"acme/{name}", parameters=size))
        self.log.append(f"push {name}")

    def _roll_back(self) -> None:
        name = self._random.choice(list(self._commits))
        commit = self._random.choice(self._commits[name])
        self._site.hub.roll_back(f"acme/{name}", commit)
        self.log.append(f"{name} is at {commit[:8]}")

    def _withdraw(self) -> None:
        name = self._random.choice(list(self._commits))
        repo = f"acme/{name}"
        here = self._site.hub.read(repo)
        if here.withdrawn or here.disabled:
            self._site.hub.change(repo, withdrawn=False, disabled=False)
        else:
            self._site.hub.change(repo, **{self._random.choice(["withdrawn", "disabled"]): True})
        self.log.append(f"withdraw or return {name}")

    def _fail(self) -> None:
        self._site.hub.fail(self._random.choice(FAULTS), after=self._random.choice([0, 1]))
        self.log.append(f"fault {self._site.hub.faults.mode}")

    def _tick(self) -> None:
        if self._random.random() < 0.5:
            self._site.hub.fail()
        killed = self._random.random() < 0.3
        launches = not killed or self._random.random() < 0.5
        tick = self._site.tick(launches=launches, keeps_cursor=not killed)
        self.log.append(f"tick: {sorted(tick.cells)} {tick.skipped} launches={launches} killed={killed}")

    def check(self) -> None:
        """After the dust has settled: the registry is the truth, and every release ran once."""
        site = self._site
        site.hub.fail()
        site.drain()
        registry = load(site.registry)
        here = {
            name.partition("/")[2]: repo.main
            for name, repo in site.hub.repos().items()
            if not repo.withdrawn and not repo.disabled and "GPTQ" not in name
        }
        known = registry.of("acme")
        assert {s.partition("/")[2]: r.current for s, r in known.items() if r.withdrawn is None} == here
        # Never twice, and nothing but what was pushed.
        assert set(site.runs.values()) <= {1}
        pushed = {
            site.cell(name, commit, recipe)
            for name, commits in self._commits.items()
            for commit in commits
            for recipe in ("ace-raw", "ace-faq")
        }
        assert set(site.runs) <= pushed
        # What is current and was released ran, unless it cannot be: the largest has no teacher.
        largest = max(here, key=lambda name: SIZES[name], default=None)
        for name, commit in here.items():
            release = known[f"acme/{name}"].now.release
            wanted = {"ace-raw", "ace-faq"} - ({"ace-faq"} if name == largest else set())
            ran = {r for r in ("ace-raw", "ace-faq") if site.cell(name, commit, r) in site.runs}
            assert wanted <= ran if release is not None else not ran, (name, commit)


@pytest.mark.parametrize("seed", range(8))
def test_any_history_ends_in_the_truth(site: Site, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releases, "MOST_RUNS", 1 + seed % 3)
    monkeypatch.setattr(discovery, "MOST_PARTITIONS", 2 + seed % 3)
    history = History(site, seed)
    for _ in range(20):
        history.step()
    try:
        history.check()
    except AssertionError:
        print("\n".join(history.log))
        raise
