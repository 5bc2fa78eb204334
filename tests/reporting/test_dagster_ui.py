"""What the Dagster UI offers and shows, in a browser, of the workspace that `make ui` loads.

With FAQ_SCREENSHOTS set to a folder, docs/graph.png is made there (in the repository: in grey, to be small).
"""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faq_pipeline.orchestration.known_partitions import known_partitions
from faq_pipeline.orchestration.partitions import split
from faq_pipeline.settings import REPOSITORY, Settings
from tests.orchestration.cli import Faq
from tests.reporting.conftest import Finished
from tests.services import Service, answers, free_port, script, until

pytestmark = pytest.mark.slow

SLOW = 120_000
"""Milliseconds that a page may take on a busy machine."""


@pytest.fixture(scope="module")
def ui(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a webserver over a home in which `faq run` has run once, all of it hits."""
    faq = Faq(finished.home, finished.data)
    faq.json("members", "--register")
    faq.json("run", "--member", "tiny-s", "--recipe", "tiny-beside")
    port = free_port()
    command = [script("dagster-webserver"), "-w", "workspace.yaml", "-p", str(port)]
    environment = {**faq.environment, "DAGSTER_HOME": str(faq.home / "dagster")}
    service = Service(command, environment, tmp_path_factory.mktemp("ui") / "log").start()
    address = f"http://127.0.0.1:{port}"
    try:
        until("the webserver", lambda: service.check() and answers(f"{address}/server_info"))
        yield address
    finally:
        service.kill_group()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    page = browser.new_page(viewport={"width": 1700, "height": 1000})
    yield page
    page.close()


def graphql(address: str, query: str) -> dict[str, Any]:
    content = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{address}/graphql", json.dumps({"query": query}).encode(), content)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return dict(json.load(answer)["data"])


def test_the_launch_dialog_offers_only_cells_that_can_exist(ui: str, page: Any, finished: Finished) -> None:
    asked = '{ assetNodeOrError(assetKey: {path: ["eval_report"]}) { ... on AssetNode { partitionKeys } } }'
    offered = graphql(ui, asked)["assetNodeOrError"]["partitionKeys"]
    settings = Settings(finished.home, (REPOSITORY / "data", finished.data), "cpu")
    assert set(offered) == set(known_partitions(settings).cells)
    for member, recipe in map(split, offered):
        family, _ = settings.catalog.member(member.partition("@")[0])
        assert family.name in settings.catalog.recipe(recipe).families
    page.goto(f"{ui}/assets/eval_report?view=partitions")
    page.get_by_text(f"{len(offered)} Partitions Selected").wait_for(timeout=SLOW)
    page.get_by_text("Materialized (2)").wait_for(timeout=SLOW)  # the recipe and its baseline
    page.get_by_role("button", name="Materialize").first.click()
    page.get_by_role("button", name="All", exact=True).click()
    page.get_by_text(f"{len(offered)} partitions").first.wait_for(timeout=SLOW)


def test_materialize_all_launches_no_study(ui: str, page: Any) -> None:
    asked = "{ assetNodes { assetKey { path } } }"
    assets = [node["assetKey"]["path"][-1] for node in graphql(ui, asked)["assetNodes"]]
    assert {"seed_data", "eval_report", "recipe_comparison"} < set(assets)
    assert not [name for name in assets if "study" in name]
    page.goto(f"{ui}/asset-groups/")
    page.get_by_role("button", name="Materialize all").first.click(timeout=SLOW)
    page.get_by_text(f"Launch runs to materialize {len(assets)} assets").wait_for(timeout=SLOW)
    page.get_by_role("button", name="Custom", exact=True).wait_for(timeout=SLOW)  # cells may be chosen


def test_a_run_of_the_command_stands_in_the_timeline_under_its_job(ui: str, page: Any) -> None:
    asked = """{ pipelineOrError(params: {repositoryLocationName: "faq_pipeline", pipelineName: "quantize",
      repositoryName: "__repository__"}) { ... on Pipeline { runs { status } } } }"""
    runs = graphql(ui, asked)["pipelineOrError"]["runs"]
    assert [run["status"] for run in runs] == ["SUCCESS", "SUCCESS"]  # the recipe and its baseline
    page.goto(f"{ui}/timeline")
    for job in ("quantize", "compare"):
        page.get_by_text(job, exact=True).first.wait_for(timeout=SLOW)


def test_the_address_of_make_ui_opens_every_group(ui: str, page: Any, tmp_path: Path) -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    (groups,) = (line.split(":= ")[1] for line in makefile.splitlines() if line.startswith("GROUPS"))
    page.set_viewport_size({"width": 2100, "height": 1000})
    page.goto(f"{ui}/asset-groups/?expanded={groups}")
    for name in ("seed_data", "inference_traces", "eval_report", "publication_review"):
        page.get_by_text(name, exact=True).first.wait_for(timeout=SLOW)
    page.wait_for_function("() => !document.body.innerText.includes('Loading...')", timeout=SLOW)
    pictures = Path(os.environ.get("FAQ_SCREENSHOTS") or tmp_path)
    page.screenshot(path=pictures / "graph.png", clip={"x": 580, "y": 112, "width": 1476, "height": 780})
