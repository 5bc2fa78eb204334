"""`faq status`: states with their reasons, failed runs, and the next tick's plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterEvent, DagsterEventType, DagsterInstance

from faq_pipeline.definitions import build_defs
from faq_pipeline.orchestration.automation.requests import DECLARED, PARTITION
from faq_pipeline.orchestration.runs import open_instance
from faq_pipeline.planning.cell_plan import cell_fingerprint
from faq_pipeline.settings import Settings
from tests.orchestration.conftest import Run
from tests.site import Site, make_site


@pytest.fixture
def site(tmp_path: Path, tiny_data: Path) -> Site:
    site = make_site(tmp_path, tiny_data)
    for member, recipe in (("tiny-s", "tiny-faq"), ("tiny-s", "tiny-self")):
        site.make(member, recipe)
    return site


def cells(faq: Run, site: Site, *arguments: str) -> dict[str, dict[str, Any]]:
    done = faq(site.data, "status", "--family", "tiny", *arguments, "--json")
    assert done.code == 0, done
    rows = json.loads(done.out)["cells"]
    return {f"{row['member'].partition('@')[0]}|{row['recipe']}": row for row in rows}


def test_every_cell_has_a_state_and_its_reason(faq: Run, site: Site) -> None:
    site.recipe((site.data / "recipes/tiny-self.yaml").read_text() + "quantization: {scheme: W8A16}\n")
    rows = cells(faq, site)
    assert {name: row["state"] for name, row in rows.items()} == {
        "tiny-s|tiny-faq": "complete",
        "tiny-s|tiny-self": "stale",
        "tiny-l|tiny-faq": "impossible",
        "tiny-l|tiny-self": "missing",
    }
    stale = rows["tiny-s|tiny-self"]
    assert stale["reason"] == "quantized_checkpoint: quantization.scheme W4A16 -> W8A16"
    assert (stale["out_of_date"], stale["made"], stale["complete"]) == ("quantized_checkpoint", 6, False)
    assert not (site.root / "home/dagster").exists()  # nothing of Dagster was made for it
    table = faq(site.data, "status", "--member", "tiny-s")
    assert "stale" in table.out and "kin-4m" not in table.out and "tiny-l" not in table.out


def test_a_failed_run_is_named_until_another_succeeds(faq: Run, site: Site) -> None:
    partition = site.cell("tiny-l", "tiny-self").partition
    faq(site.data, "members", "--register")
    with open_instance(site.settings) as instance:
        for status in ("FAILURE", "SUCCESS"):
            run = a_run(instance, status, **{PARTITION: partition})
            failed = cells(faq, site)["tiny-l|tiny-self"]["failed_run"]
            assert failed == (run if status == "FAILURE" else None)
    everything = faq(site.data, "status").out
    own, *_, shipped = [row["member"] for row in json.loads(faq(site.data, "status", "--json").out)["cells"]]
    assert own.startswith("tiny") and not shipped.startswith("tiny")
    untouched = everything.split("nothing is made of")[1]
    assert "kin-8m" in untouched and "tiny" not in untouched and "tiny-s" in everything


def test_the_next_tick_is_shown_with_its_cost_and_what_waits(faq: Run, site: Site) -> None:
    site.add_member("tiny-new")
    done = faq(site.data, "status", "--plan", "--family", "tiny", "--json")
    (plan,) = json.loads(done.out)["plans"]
    asked = {row["partition"].partition("@")[0]: row for row in plan["cells"] if row["asked"]}
    assert plan["max_gpu_hours"] == 24 and plan["complete"] == 2 and 0 < plan["gpu_hours"] < 1
    assert set(asked) == {"tiny-new", "tiny-l"} and asked["tiny-new"]["cost_known"]
    assert "it is the largest" in plan["impossible"][0]["reason"]
    faq(site.data, "members", "--register")
    with open_instance(site.settings) as instance:
        cell = site.cell("tiny-l", "tiny-self")
        a_run(instance, "START", **{PARTITION: cell.partition, DECLARED: cell_fingerprint(cell)})
    shown = faq(site.data, "status", "--plan", "--family", "tiny")
    assert shown.code == 0 and "is started" in shown.out.replace("\n", " ")
    assert "cron 0 2 * * *" in shown.out


def test_what_is_not_known_is_refused(faq: Run, site: Site) -> None:
    assert "unknown family 'tin'" in faq(site.data, "status", "--family", "tin").mistake
    assert "did you mean 'tiny-s'" in faq(site.data, "status", "--member", "tiny-ss").mistake
    assert "--family instead" in faq(site.data, "status", "--plan", "--member", "tiny-s").mistake


def a_run(instance: DagsterInstance, status: str, **tags: str) -> str:
    """The id of a run that is started, or ended so."""
    job = build_defs(Settings.from_environment()).resolve_job_def("quantize")
    run = instance.create_run_for_job(job, tags=tags)
    event = DagsterEvent(DagsterEventType[f"RUN_{status}"].value, run.job_name)
    instance.report_dagster_event(event, run.run_id)
    return run.run_id
