"""`faq members`: what is known, what is new, what is withdrawn; cells of discovered members resolve."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faq_pipeline.core.resolver import resolve_cell
from faq_pipeline.errors import FaqError
from faq_pipeline.settings import REPOSITORY, Settings
from tests.automation.site import BILLION, make_data
from tests.hub import HubFolder, HubServer
from tests.hub.client import use_hub
from tests.orchestration.conftest import Run


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer(HubFolder(tmp_path / "hub")) as server:
        use_hub(monkeypatch, server.url)
        yield server


class Here:
    """`faq` on a family of a stub hub."""

    def __init__(self, faq: Run, data: Path, hub: HubFolder) -> None:
        self._faq, self.data, self.hub = faq, data, hub

    def json(self, *arguments: str) -> Any:
        done = self._faq(self.data, "members", *arguments, "--json")
        assert done.code == 0, done.err
        return json.loads(done.out)

    def discover(self) -> Any:
        (family,) = self.json("--discover", "--family", "acme")["families"]
        return family

    def rows(self) -> dict[str, Any]:
        return {row["member"]: row for row in self.json("--family", "acme")["members"]}

    def says(self, *arguments: str) -> str:
        done = self._faq(self.data, "members", *arguments)
        assert done.code == 0, done.err
        return done.out

    def mistake(self, *arguments: str) -> str:
        return self._faq(self.data, "members", *arguments).mistake


@pytest.fixture
def here(faq: Run, tmp_path: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> Here:
    monkeypatch.setattr("faq_pipeline.models.device_memory.device_memory", lambda device: 10**15)
    pin = hub.folder.add("acme/Ace-1B", parameters=BILLION)
    return Here(faq, make_data(tmp_path / "data", pin), hub.folder)


def test_a_look_prints_what_changed_and_the_list_shows_it(here: Here) -> None:
    commit = here.hub.add("acme/Ace-7B", parameters=7 * BILLION)
    here.hub.add("acme/Ace-8B", parameters=8 * BILLION, gated="manual")
    found = here.discover()
    assert found["changes"] == [
        {"kind": "new member", "member": "ace-7b", "source": "acme/Ace-7B", "commit": commit}
    ]
    assert [one["source"] for one in found["ignored"]] == ["acme/Ace-8B"]
    row = here.rows()["ace-7b"]
    assert row["partition"] == f"ace-7b@{commit[:8]}" and row["source"] == "acme/Ace-7B"
    assert row["discovered"] and not here.rows()["small"]["discovered"]
    assert "acme: nothing new" in here.says("--discover", "--family", "acme")


def test_stale_corpora_and_the_withdrawn_are_told(here: Here) -> None:
    here.hub.add("acme/Ace-7B", parameters=7 * BILLION)
    here.discover()
    here.hub.add("acme/Ace-9B", parameters=9 * BILLION)
    (stale,) = here.discover()["stale"]
    assert stale["members"] == ["small"] and stale["recipes"] == ["ace-faq"]
    here.hub.withdraw("acme/Ace-9B")
    said = here.says("--discover", "--family", "acme")
    assert "acme: withdrawn: ace-9b@" in said and "stale corpora of small" in said
    row = here.rows()["ace-9b"]
    assert row["partition"] is None and "withdrawn: acme/Ace-9B was gone on" in row["problem"]
    assert "withdrawn: acme/Ace-9B" in " ".join(here.says("--family", "acme").split())


def test_every_recorded_revision_has_its_cells(here: Here) -> None:
    here.hub.add("acme/Ace-9B", parameters=9 * BILLION)
    first = here.hub.add("acme/Ace-7B", parameters=7 * BILLION)
    here.discover()
    second = here.hub.push("acme/Ace-7B", parameters=7 * BILLION)
    here.discover()
    settings = Settings.from_environment()
    recipe = settings.catalog.recipe("ace-faq")

    def target(member: str) -> str:
        cell = resolve_cell(settings.catalog, member, recipe, "cpu", settings.digests)
        assert cell.teacher is not None and cell.teacher.name == "ace-9b"
        return cell.target.digest

    assert target("ace-7b") == target(f"ace-7b@{second[:8]}") == second
    assert target(f"ace-7b@{first[:8]}") == first
    with pytest.raises(FaqError, match="is not here any more"):
        target("ace-7b@00000000")


def test_mistakes(here: Here) -> None:
    assert "unknown family 'acne' (did you mean 'acme'?)" in here.mistake("--discover", "--family", "acne")
    assert "unknown family 'acne'" in here.mistake("--family", "acne")
    assert "cannot be combined" in here.mistake("--discover", "--register")
    path = here.data / "families/acme.yaml"
    path.write_text(
        "\n".join(line for line in path.read_text().splitlines() if not line.startswith("discovery"))
    )
    assert "family 'acme' has no discovery rule" in here.mistake("--discover", "--family", "acme")


def test_a_hub_that_is_down_is_one_line_and_exit_code_2(here: Here) -> None:
    here.hub.fail("500")
    assert "127.0.0.1 answers 500" in here.mistake("--discover", "--family", "acme")


def test_one_familys_hub_does_not_stop_the_look_at_another(here: Here, faq: Run) -> None:
    here.hub.fail("500", path="/api/models?author=Qwen")
    here.hub.add("acme/Ace-7B", parameters=7 * BILLION)
    done = faq(here.data, "members", "--discover")
    assert done.code == 2 and "acme: new member: ace-7b@" in done.out
    assert done.err.startswith("faq: family 'qwen3': 127.0.0.1 answers 500")


def test_a_broken_registry_is_a_plain_mistake(here: Here, tmp_path: Path) -> None:
    here.discover()
    registry = tmp_path / "home/members.json"
    registry.write_text("{")
    for arguments in ((), ("--discover",)):
        assert here.mistake(*arguments).startswith(f"{registry}: broken registry")


def test_a_folder_of_an_air_gapped_site(faq: Run, tiny_data: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    with (data / "families/tiny.yaml").open("a") as file:
        file.write('discovery: {name: "tiny-[a-z]+", directory: ../models}\n')
    site = Here(faq, data, HubFolder(tmp_path / "hub"))
    (family,) = site.json("--discover", "--family", "tiny")["families"]
    assert family["changes"] == []  # both members are in the family's file
    shutil.copytree(data / "models/tiny-l", data / "models/tiny-xl")
    (family,) = site.json("--discover", "--family", "tiny")["families"]
    assert [(c["kind"], c["member"]) for c in family["changes"]] == [("new member", "tiny-xl")]
    rows = {row["member"]: row for row in site.json("--family", "tiny")["members"]}
    assert rows["tiny-xl"]["source"] == str(data / "models/tiny-xl")
    assert rows["tiny-xl"]["parameters"] == rows["tiny-l"]["parameters"]
    assert faq(data, "run", "--member", "tiny-xl", "--recipe", "tiny-faq", "--dry-run").code == 2
    done = faq(data, "run", "--member", "tiny-s", "--recipe", "tiny-faq", "--dry-run")
    assert done.code == 0, done.err


def test_offline_by_environment(here: Here, tmp_path: Path) -> None:
    """`HF_HUB_OFFLINE` and `HF_ENDPOINT` as users set them: in the environment of a process."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "FAQ_HOME": str(tmp_path / "x")}
    command = [sys.executable, "-m", "faq_pipeline", "members", "--discover", "--family", "qwen3"]
    done = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("faq: cannot ask the hub: HF_HUB_OFFLINE is set")
