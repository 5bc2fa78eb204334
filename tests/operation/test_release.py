"""A release on the hub becomes a published checkpoint: nobody touches anything but the hub.

Everything is started as the README says (`make ui`): webserver, daemon and code server; a real
browser looks at what they show. The hub is a local server spoken to by the real client. With
FAQ_SCREENSHOTS set to a folder the browser's pictures are kept there.
"""

from __future__ import annotations

import json
import os
import shutil
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

from faq_pipeline.settings import REPOSITORY
from faq_pipeline.store.store import Store
from tests.hub.folder import HubFolder
from tests.hub.server import HubServer
from tests.orchestration.cli import Faq
from tests.services import Service, answers, free_port, until
from training.packing import plain_folder

pytestmark = pytest.mark.slow

MODELS = REPOSITORY / "data/models"
FAMILY = f"""\
name: hive
owners: [acme]
memory_budget_gib: 2
development: {REPOSITORY}/data/eval/kin/development.jsonl
thinking: {{template_kwargs: {{enable_thinking: true}}}}
discovery: {{name: "Hive-[0-9]+M", interval_seconds: 5}}
requantize: {{recipes: [hive-faq], on_release: true}}
publish: {{licences: [Apache-2.0]}}
members:
  - {{name: hive-8m, hub: acme/Hive-8M, revision: COMMIT, parameters: 7918336, licence: Apache-2.0}}
"""
RECIPE = f"""\
name: hive-faq
title: FAQ, small enough for a test
families: [hive]
seeds: {{path: {REPOSITORY}/data/seeds/kin-mixed.jsonl, count: 24}}
regeneration:
  source: teacher
  candidates: 2
  sampling: {{temperature: 0.8, max_new_tokens: 224}}
competition: {{experts: {{answer: 1.0, teacher_likelihood: 0.5}}}}
calibration: {{template: chat, tokens: 1024, sequence_length: 256}}
quantization: {{method: gptq, scheme: W8A16, group_size: 128, actorder: static}}
evaluation:
  tasks: [kin_demo]
  include: {REPOSITORY}/data/eval/kin
  max_new_tokens: 224
  limit: 32
  prose: {REPOSITORY}/data/eval/kin/prose.jsonl
  traces: 16
  gate: {{recovery: 0.8}}
"""
RELEASED, STRANGER = "acme/Hive-4M", "somebody/Hive-4M"
SENSOR = "discover_hive"


@dataclass(frozen=True)
class OnlineFaq(Faq):
    """`faq` of a site that may ask the hub."""

    more: dict[str, str]

    @property
    def environment(self) -> dict[str, str]:
        offline = super().environment
        return {k: v for k, v in offline.items() if k != "HF_HUB_OFFLINE"} | self.more


@dataclass(frozen=True)
class Site:
    """A running installation and the hub that it asks."""

    faq: OnlineFaq
    hub: HubFolder
    instance: DagsterInstance
    port: int

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def graphql(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self.address}/graphql",
            json.dumps({"query": query, "variables": variables or {}}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return dict(json.load(answer)["data"])

    def ticks(self) -> list[dict[str, Any]]:
        """The discovery sensor's ended ticks, newest first."""
        asked = "query ($s: SensorSelector!) { sensorOrError(sensorSelector: $s) { ... on Sensor {"
        asked += " sensorState { ticks(limit: 50) { status endTimestamp skipReason runIds } } } } }"
        found = self.graphql(asked, {"s": selector()})
        every = found["sensorOrError"]["sensorState"]["ticks"]
        return [tick for tick in every if tick["status"] != "STARTED"]

    def runs(self) -> list[Any]:
        return list(self.instance.get_runs(filters=RunsFilter(job_name="requantize")))


def selector() -> dict[str, str]:
    return {
        "repositoryLocationName": "faq_pipeline",
        "repositoryName": "__repository__",
        "sensorName": SENSOR,
    }


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("site")
    hub = HubFolder(root / "hub")
    with plain_folder(MODELS / "kin-8m") as plain:
        commit = hub.add("acme/Hive-8M", plain)
    (root / "data/families").mkdir(parents=True)
    (root / "data/recipes").mkdir()
    (root / "data/families/hive.yaml").write_text(FAMILY.replace("COMMIT", commit))
    (root / "data/recipes/hive-faq.yaml").write_text(RECIPE)
    with HubServer(hub) as server, pytest.MonkeyPatch.context() as patch:
        dagster_home = root / "home/dagster"
        more = {"HF_ENDPOINT": server.url, "HF_HOME": str(root / "hf"), "DAGSTER_HOME": str(dagster_home)}
        faq, port = OnlineFaq(root / "home", root / "data", more), free_port()
        command = ["make", "ui", f"PORT={port}"]
        service = Service(command, faq.environment, root / "ui.log").start()
        try:
            until(
                "the webserver", lambda: service.check() and answers(f"http://127.0.0.1:{port}/server_info")
            )
            patch.setenv("DAGSTER_HOME", str(dagster_home))
            with DagsterInstance.get() as instance:
                yield Site(faq, hub, instance, port)
        finally:
            service.kill_group()


@pytest.fixture(scope="module")
def published(site: Site) -> dict[str, Any]:
    """The sensor is switched on, has looked once, and the hub gets a release; the world afterwards."""
    until("the code server", lambda: "sensorState" in json.dumps(site.graphql(
        "query ($s: SensorSelector!) { sensorOrError(sensorSelector: $s)"
        " { ... on Sensor { sensorState { id } } } }", {"s": selector()})))  # fmt: skip
    site.graphql(
        "mutation ($s: SensorSelector!) { startSensor(sensorSelector: $s) { __typename } }", {"s": selector()}
    )
    until("a tick without news", lambda: len(site.ticks()) >= 1)
    assert not site.runs() and {tick["status"] for tick in site.ticks()} == {"SKIPPED"}
    site.hub.add(STRANGER, MODELS / "kin-4m")
    commit = site.hub.add(RELEASED, MODELS / "kin-4m")
    before = len(site.ticks())
    until("the run of the release", lambda: any(tick["runIds"] for tick in site.ticks()))
    after = next(n for n, tick in enumerate(reversed(site.ticks()), 1) if tick["runIds"])
    until("the end of that run", lambda: all(run.is_finished for run in site.runs()))
    return {"commit": commit, "ticks": after - before}


def test_within_two_ticks_a_release_is_a_partition_and_a_run(site: Site, published: dict[str, Any]) -> None:
    assert published["ticks"] <= 2
    (run,) = site.runs()
    assert run.status is DagsterRunStatus.SUCCESS
    partition = f"hive-4m@{published['commit'][:8]}"
    assert partition in site.instance.get_dynamic_partitions("members")
    assert run.tags["dagster/partition"] == f"{partition}|hive-faq"
    members = {row["member"] for row in site.faq.json("members", "--family", "hive")["members"]}
    assert members == {"hive-8m", "hive-4m"}  # the stranger's is none


def test_its_checkpoint_is_published_with_a_card(site: Site, published: dict[str, Any]) -> None:
    folder = site.faq.home / "published/hive-4m/hive-faq/current"
    card = (folder / "README.md").read_text()
    assert "base_model: acme/Hive-4M" in card and published["commit"] in card
    assert f"acme/Hive-8M, commit {site.hub.read('acme/Hive-8M').main}" in card
    assert (folder / "model.safetensors").is_file() and (folder / "tokenizer.json").is_file()
    assert not list(Store(site.faq.home / "store").root.glob(".staging/*"))


def test_a_release_is_asked_for_once(site: Site, published: dict[str, Any]) -> None:
    seen = len(site.ticks())
    until("two more ticks", lambda: len(site.ticks()) >= seen + 2)
    assert len(site.runs()) == 1


def test_a_browser_sees_the_graph_and_the_reports_figures(
    site: Site, published: dict[str, Any], tmp_path: Path
) -> None:
    from playwright.sync_api import sync_playwright

    pictures = Path(os.environ.get("FAQ_SCREENSHOTS") or tmp_path)
    partition = f"hive-4m@{published['commit'][:8]}|hive-faq"
    browser_path = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser_path is None:
        pytest.skip("no browser here: apt-get install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=browser_path,
            args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"],
        )
        page = browser.new_page(viewport={"width": 2700, "height": 1250})
        page.goto(f"{site.address}/asset-groups/")
        page.get_by_text("calibration", exact=True).first.wait_for(timeout=120_000)
        page.keyboard.press("Alt+e")  # shows what is in the groups
        for name in ("seed_data", "eval_report", "published_checkpoint"):
            page.get_by_text(name, exact=True).first.wait_for(timeout=120_000)
        page.wait_for_function("() => !document.body.innerText.includes('Loading...')", timeout=120_000)
        page.screenshot(path=pictures / "released_graph.png")
        for asset, figure in (("eval_report", "recovery_percent"), ("published_checkpoint", "destination")):
            page.goto(f"{site.address}/assets/{asset}?view=events")
            page.get_by_text(f"Partition {partition} materialized").first.wait_for(timeout=120_000)
            page.get_by_text(figure).first.wait_for(timeout=120_000)
            page.screenshot(path=pictures / f"released_{asset}.png")
        browser.close()
