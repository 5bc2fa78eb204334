"""Publishers that are killed with -9, and publishers that race: the checkpoint is published once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from faq_pipeline.settings import REPOSITORY as ROOT
from tests.publishing.conftest import REPOSITORY, Site
from tests.publishing.stub_hub import Commit, StubHub

pytestmark = pytest.mark.slow

MOMENTS = 8
TRIALS = 12
Publisher = subprocess.Popen[str]
Start = Callable[..., Publisher]


@pytest.fixture
def start(hub: StubHub) -> Iterator[Start]:
    """Starts a publisher, whose client speaks to the hub."""
    started: list[Publisher] = []

    def run(site: Site, moment: int = -1, repository: str = "") -> Publisher:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.publishing.publisher", str(site.root), repository, str(moment)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"},
        )
        started.append(process)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def ask(process: Publisher, name: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{name}\n")
    process.stdin.flush()


def answer(process: Publisher) -> tuple[dict[str, Any], int]:
    assert process.stdout is not None
    done, touched = json.loads(process.stdout.readline())
    return done, touched


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Contents and inodes of a published folder; none where it is not there."""
    return {path.name: (path.stat().st_ino, path.read_bytes()) for path in folder.glob("*")}


def test_a_publisher_killed_at_any_moment_leaves_nothing_half_published(
    site: Site, start: Start, tmp_path: Path
) -> None:
    undisturbed = start(site)
    ask(undisturbed, "a")
    _, touches = answer(undisturbed)
    complete = {name: data for name, (_, data) in files(site.directory / site.content("a").digest).items()}
    moments = [*random.Random(7).sample(range(1, touches - 3), MOMENTS - 3), *range(touches - 2, touches + 1)]
    found_there = 0
    for moment in moments:
        other = Site(tmp_path / f"killed-{moment}")
        content = other.content("a")
        process = start(other, moment)
        ask(process, "a")
        assert process.wait(60) == -signal.SIGKILL
        folder = other.directory / content.digest
        left = files(folder)
        assert {name: data for name, (_, data) in left.items()} in ({}, complete)
        done = other.publish(content)
        assert files(folder).items() >= left.items()  # not copied a second time
        assert done.status == ("already" if left else "new")
        found_there += bool(left)
        assert other.listed() == {content.digest, "current"} and other.current == content.digest
        assert [event.what for event in other.records.read(content.digest, "").events] == ["published"]
    assert 0 < found_there < len(moments)  # moments on both sides of the rename


def test_a_publisher_killed_between_push_and_record(site: Site, hub: StubHub, start: Start) -> None:
    pushed, killed = threading.Event(), threading.Event()

    def hold(commit: Commit) -> None:
        """The hub has the commit, and its answer does not come before the publisher is dead."""
        pushed.set()
        assert killed.wait(60)

    hub.committed = hold
    process = start(site, repository=REPOSITORY)
    ask(process, "a")
    assert pushed.wait(60)
    process.kill()
    process.wait(60)
    hub.committed = lambda commit: None
    killed.set()
    content, repo = site.content("a"), hub.repos[REPOSITORY]
    assert len(site.records.read(content.digest, "").events) == 1  # of the directory alone
    done = site.publish(content, repository=REPOSITORY)
    assert [one.status for one in done.places] == ["already", "already"]
    assert done.places[1].commit == repo.commits[-1].oid and len(repo.commits) == 2
    assert len(site.records.read(content.digest, "").events) == 2


def test_of_racing_publishers_one_publishes(site: Site, hub: StubHub, start: Start) -> None:
    racers = [start(site, repository=REPOSITORY) for _ in range(2)]
    for trial in range(TRIALS):
        content = site.content(f"trial {trial}")
        for racer in racers:
            ask(racer, f"trial {trial}")
        statuses = [[place["published"] for place in answer(racer)[0]["places"]] for racer in racers]
        assert sorted(statuses) == [["already", "already"], ["new", "new"]]
        assert len(site.records.read(content.digest, "").events) == 2
        assert site.current == content.digest
    assert hub.repos[REPOSITORY].titles[1:] == [
        f"Publish checkpoint {site.content(f'trial {trial}').digest}: tiny-s@01234567, tiny-faq"
        for trial in range(TRIALS)
    ]
    assert not [name for name in site.listed() if name.startswith(".")]
