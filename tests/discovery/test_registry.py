"""The registry's file: whole or absent, one writer at a time, and never silently empty."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from faq_pipeline.errors import FaqError
from faq_pipeline.registry.registry import Registered, Registry, Revision, load, update
from tests.discovery.acme import NOW, Known, repo, sha, shown

WRITER = """
import sys
from pathlib import Path
from faq_pipeline.registry.registry import Registered, Revision, update

path, who = Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for number in range(20):
    def add(registry):
        revision = Revision(commit=f"{number:040x}", seen="now", parameters=1)
        member = Registered(name=f"{who}-{number}", revisions=(revision,), current=revision.commit)
        return registry.model_copy(update={
            "releases": registry.releases + 1,
            "families": {**registry.families, who: {**registry.of(who), f"a/{number}": member}},
        })
    update(path, add)
"""


def put(member: Registered) -> Any:
    return lambda registry: registry.model_copy(update={"families": {"acme": {"acme/a": member}}})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home/members.json"


def member(**changes: Any) -> Registered:
    revision = Revision(commit=sha("a"), seen=NOW, parameters=1, release=1)
    return Registered(name="a", revisions=(revision,), current=revision.commit).model_copy(update=changes)


def test_what_is_written_is_read(path: Path) -> None:
    assert load(path) == Registry()
    known = Known()
    known.look(shown(repo("Ace-7B", "one"), repo("Ace-1B", "pin")))
    known.look(shown(gone=("Ace-7B",)))
    written = update(path, lambda registry: known.registry.model_copy(update={"id": ""}))
    assert load(path) == written and written.id and written.families == known.registry.families


def test_the_file_keeps_its_id_and_is_not_touched_without_a_change(path: Path) -> None:
    first = update(path, put(member()))
    stamp = path.stat().st_mtime_ns
    assert update(path, lambda registry: registry) == first and path.stat().st_mtime_ns == stamp
    assert update(path, put(member(name="b"))).id == first.id
    assert sorted(p.name for p in path.parent.iterdir()) == ["members.json", "members.lock"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"members": {}}',
        '{"families": {"acme": {"acme/a": {"name": "a", "revisions": [], "current": "x"}}}}',
    ],
)
def test_a_broken_file_is_an_error_and_stays_as_it_is(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_text(text)
    for read in (lambda: load(path), lambda: update(path, put(member()))):
        with pytest.raises(FaqError, match="broken registry") as error:
            read()
        assert error.value.file == path and "\n" not in str(error.value)
    assert path.read_text() == text


def test_a_current_revision_that_is_not_there_is_an_error(path: Path) -> None:
    update(path, put(member()))
    content = json.loads(path.read_text())
    content["families"]["acme"]["acme/a"]["current"] = sha("b")
    path.write_text(json.dumps(content))
    with pytest.raises(FaqError, match="current revision of acme/a"):
        load(path)


def test_a_change_that_fails_leaves_the_file(path: Path) -> None:
    before = update(path, put(member()))

    def fail(registry: Registry) -> Registry:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        update(path, fail)
    assert load(path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_home_that_cannot_be_written_is_said(path: Path) -> None:
    path.parent.mkdir(mode=0o500)
    with pytest.raises(FaqError, match="cannot be written"):
        update(path, put(member()))


def test_two_writers_lose_nothing(path: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), who],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for who in ("one", "two")
    ]
    for writer in writers:
        assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    assert [writer.wait(60) for writer in writers] == [0, 0]
    found = load(path)
    assert found.releases == 40 and [len(found.of(who)) for who in ("one", "two")] == [20, 20]
