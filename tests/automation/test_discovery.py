"""The discovery sensor, through Dagster's own evaluation and storage, against a stub hub."""

from __future__ import annotations

import re
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterRunStatus

from faq_pipeline.definitions import build_defs
from faq_pipeline.orchestration.automation import build_sensors, releases
from faq_pipeline.orchestration.automation.discovery import MOST_PARTITIONS, sensor_names
from faq_pipeline.orchestration.automation.registration import register
from faq_pipeline.settings import REPOSITORY, Settings
from tests.automation.site import BILLION, Site, write_family
from tests.hub import HubServer


def test_a_release_becomes_a_partition_and_a_run_of_each_recipe_once(site: Site) -> None:
    site.hub.add("acme/Ace-9B", parameters=9 * BILLION)
    commit = site.hub.add("acme/Ace-7B", parameters=7 * BILLION)
    tick = site.tick()
    assert f"ace-7b@{commit[:8]}" in tick.partitions
    assert {site.cell("Ace-7B", commit, recipe) for recipe in ("ace-raw", "ace-faq")} <= tick.cells
    assert all(request.tags["faq/reason"] == "release" for request in tick.asked)
    assert {request.job_name for request in tick.asked} == {"quantize"}
    again = site.tick()
    assert not again.asked and not again.partitions and again.cursor == tick.cursor
    assert again.skipped is not None and again.skipped.startswith("no change")


def test_the_familys_own_member_is_no_release(site: Site, pin: str) -> None:
    tick = site.tick()
    assert not tick.asked and tick.partitions == [f"small@{pin[:8]}"]
    commit = site.hub.push("acme/Ace-1B", parameters=BILLION)
    assert site.tick().cells == {site.cell("Ace-1B", commit, "ace-raw")}


def test_a_cell_that_cannot_be_says_why_and_is_asked_for_when_it_can(site: Site) -> None:
    first = site.hub.add("acme/Ace-7B", parameters=7 * BILLION)
    site.tick()
    waits = site.tick()
    assert waits.skipped is not None and "no teacher for 'ace-7b'" in waits.skipped
    assert site.cell("Ace-7B", first, "ace-faq") in waits.skipped
    second = site.hub.add("acme/Ace-9B", parameters=9 * BILLION)
    assert site.tick().cells == {
        site.cell("Ace-7B", first, "ace-faq"),
        site.cell("Ace-9B", second, "ace-raw"),
    }


def test_a_larger_sibling_makes_corpora_stale_and_says_so(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.hub.add("acme/Ace-7B", parameters=7 * BILLION)
    site.drain()
    commit = site.hub.add("acme/Ace-9B", parameters=9 * BILLION)
    tick = site.tick()
    said = f"stale corpora of small: the teacher is now ace-9b@{commit[:8]}"
    assert said in str(tick.cursor) and "recipes ace-faq" in str(tick.cursor)
    assert said in capsys.readouterr().err
    assert not any("small" in cell for cell in tick.cells)  # the schedule's business


@pytest.mark.slow
def test_200_releases_at_once(site: Site) -> None:
    commits = {f"Ace-{n}B": site.hub.add(f"acme/Ace-{n}B", parameters=n * BILLION) for n in range(2, 202)}
    ticks = site.drain()
    for tick in ticks:
        assert len(tick.asked) <= releases.MOST_RUNS + 1 and len(tick.partitions) <= MOST_PARTITIONS
        assert len(str(tick.cursor)) < 300
    wanted = {
        site.cell(repo, commit, recipe)
        for repo, commit in commits.items()
        for recipe in ("ace-raw", "ace-faq")
    } - {site.cell("Ace-201B", commits["Ace-201B"], "ace-faq")}  # the largest has no teacher
    assert set(site.runs) == wanted and set(site.runs.values()) == {1}
    assert {f"ace-{n}b" for n in range(2, 202)} < {key.partition("@")[0] for key in site.partitions}


def test_many_releases_say_how_many_wait(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    for n in range(2, 152):
        site.hub.add(f"acme/Ace-{n}B", parameters=n * BILLION)
    tick = site.tick()
    left = 150 - len({cell.partition("|")[0] for cell in tick.cells})
    assert f"left for later ticks: {left} releases, 51 partitions" in capsys.readouterr().err


def test_a_hub_that_is_down_busy_or_lies_is_a_skip_and_changes_nothing(site: Site) -> None:
    site.hub.add("acme/Ace-7B", parameters=7 * BILLION)
    site.tick()
    before, cursor, runs = site.registry.read_bytes(), site.cursor, dict(site.runs)
    site.hub.add("acme/Ace-9B", parameters=9 * BILLION)
    for mode in ("drop", "500", "429", "401", "not json", "object", "no sha", "wrong types"):
        site.hub.fail(mode, retry_after=3600 if mode == "429" else None)
        tick = site.tick()
        assert tick.skipped is not None and "127.0.0.1" in tick.skipped and not tick.asked
        assert (site.registry.read_bytes(), site.cursor, dict(site.runs)) == (before, cursor, runs)
    site.hub.fail()
    assert any(cell.startswith("ace-9b") for cell in site.tick().cells)


def test_offline_is_a_skip(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    tick = site.tick()
    assert tick.skipped is not None and "HF_HUB_OFFLINE is set" in tick.skipped and tick.cursor is None


def test_a_withdrawn_member_is_no_teacher_and_comes_back_without_a_run(site: Site) -> None:
    site.hub.add("acme/Ace-7B", parameters=7 * BILLION)
    largest = site.hub.add("acme/Ace-9B", parameters=9 * BILLION)
    site.drain()
    runs = dict(site.runs)
    site.hub.withdraw("acme/Ace-9B")
    tick = site.tick()
    assert not tick.asked and tick.skipped is not None
    assert "ace-9b" not in {m.name for m in site.settings.catalog.families["acme"].members}
    assert "the teacher is now ace-7b" in tick.skipped
    site.hub.restore("acme/Ace-9B")
    site.tick()
    _, back = site.settings.catalog.member("ace-9b")
    assert back.revision == largest and dict(site.runs) == runs


def test_a_rollback_is_no_release(site: Site) -> None:
    first = site.hub.add("acme/Ace-7B", parameters=7 * BILLION)
    site.drain()
    second = site.hub.push("acme/Ace-7B", parameters=7 * BILLION)
    site.drain()
    runs = dict(site.runs)
    assert set(runs) == {site.cell("Ace-7B", commit, "ace-raw") for commit in (first, second)}
    site.hub.roll_back("acme/Ace-7B", first)
    site.drain()
    assert site.settings.catalog.member("ace-7b")[1].revision == first and dict(site.runs) == runs


def test_what_was_rolled_back_before_its_turn_waits_until_it_is_current_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = site.hub.add("acme/Ace-7B", parameters=7 * BILLION)
    site.drain()
    second = site.hub.push("acme/Ace-7B", parameters=7 * BILLION)
    with monkeypatch.context() as patch:
        patch.setattr(releases, "MOST_RUNS", 0)
        site.tick()
    site.hub.roll_back("acme/Ace-7B", first)
    assert not site.tick().asked
    site.hub.roll_back("acme/Ace-7B", second)
    assert site.tick().cells == {site.cell("Ace-7B", second, "ace-raw")}


def test_a_repository_of_another_owner_is_no_member(site: Site, hub: HubServer) -> None:
    site.hub.add("mallory/Ace-9B", parameters=9 * BILLION)
    site.drain()
    assert not site.runs and {key.partition("@")[0] for key in site.partitions} == {"small"}


@pytest.mark.parametrize("launches", [True, False])
def test_a_daemon_that_is_killed_before_its_cursor_loses_and_doubles_nothing(
    site: Site, launches: bool
) -> None:
    commit = site.hub.add("acme/Ace-7B", parameters=7 * BILLION)
    killed = site.tick(launches=launches, keeps_cursor=False)
    assert site.cursor is None and site.registry.exists()
    site.hub.add("acme/Ace-9B", parameters=9 * BILLION)  # a new teacher, and so another run key
    site.drain()
    assert killed.cells == {site.cell("Ace-7B", commit, "ace-raw")} and killed.cells < set(site.runs)
    assert set(site.runs.values()) == {1}


def test_the_same_tick_has_the_same_run_keys(site: Site) -> None:
    site.hub.add("acme/Ace-7B", parameters=7 * BILLION)
    keys = [{request.run_key for request in site.tick(launches=False).asked} for _ in range(2)]
    assert keys[0] == keys[1] and len(keys[0]) == 1


def test_a_cursor_that_is_none_asks_nothing_twice(site: Site) -> None:
    site.hub.add("acme/Ace-7B", parameters=7 * BILLION)
    site.drain()
    runs = dict(site.runs)
    for cursor in ("", "{", "[]", '{"registry": "x", "upto": 5, "waiting": []}', "7"):
        site.cursor = cursor
        site.drain()
        assert dict(site.runs) == runs


def test_a_registry_that_is_lost_is_filled_anew_and_nothing_runs_twice(site: Site) -> None:
    site.hub.add("acme/Ace-7B", parameters=7 * BILLION)
    site.drain()
    runs = dict(site.runs)
    site.registry.unlink()
    site.hub.add("acme/Ace-9B", parameters=9 * BILLION)
    site.drain()
    assert runs.items() < site.runs.items() and set(site.runs.values()) == {1}


def test_a_broken_registry_is_a_skip(site: Site) -> None:
    site.home.mkdir()
    site.registry.write_text("{")
    tick = site.tick()
    assert tick.skipped is not None and "broken registry" in tick.skipped
    assert site.registry.read_text() == "{"


def test_a_cell_that_runs_already_is_not_asked_for(site: Site) -> None:
    site.hub.add("acme/Ace-7B", parameters=7 * BILLION)
    (request,) = site.tick(launches=False).asked
    tags = {**request.tags, "faq/reason": "schedule"}
    tags.pop("dagster/sensor_name")
    site.instance.add_run(
        dg.DagsterRun(job_name="quantize", run_id="r", status=DagsterRunStatus.STARTED, tags=tags)
    )
    assert not site.tick().asked


def test_without_on_release_members_become_partitions_only(site: Site, pin: str) -> None:
    write_family(site.data, pin, on_release=False)
    site.hub.add("acme/Ace-7B", parameters=7 * BILLION)
    site.drain()
    assert not site.runs and len(site.partitions) == 2
    write_family(site.data, pin, on_release=True)  # what was released before is no release now
    commit = site.hub.add("acme/Ace-9B", parameters=9 * BILLION)
    site.drain()
    assert set(site.runs) == {site.cell("Ace-9B", commit, "ace-raw")}


def test_a_broken_recipe_holds_nothing_else_up_and_loses_nothing(site: Site) -> None:
    path = site.data / "recipes/ace-raw.yaml"
    whole = path.read_text()
    path.write_text(whole + "nonsense: 1\n")
    commit = site.hub.add("acme/Ace-7B", parameters=7 * BILLION)
    largest = site.hub.add("acme/Ace-9B", parameters=9 * BILLION)
    assert site.tick().cells == {site.cell("Ace-7B", commit, "ace-faq")}
    path.write_text(whole)
    assert site.tick().cells == {
        site.cell("Ace-7B", commit, "ace-raw"),
        site.cell("Ace-9B", largest, "ace-raw"),
    }


def test_a_gated_repository_is_told(site: Site) -> None:
    site.hub.add("acme/Ace-7B", parameters=7 * BILLION, gated="manual")
    tick = site.tick()
    assert tick.skipped is not None
    assert "ignored: acme/Ace-7B: gated, and HF_TOKEN does not open it" in tick.skipped


def test_the_token_is_in_nothing_that_is_kept(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    site.hub.add("acme/Ace-7B", parameters=7 * BILLION)
    ticks = site.drain()
    site.hub.fail("401")
    ticks.append(site.tick())
    assert "hf_secret" not in repr(ticks) + site.registry.read_text()


def test_registration_covers_discovered_members(site: Site) -> None:
    site.hub.add("acme/Ace-7B", parameters=7 * BILLION)
    site.tick(launches=False)
    commit = site.hub.push("acme/Ace-7B", parameters=7 * BILLION)
    site.tick(launches=False)
    context = dg.build_sensor_context(instance=site.instance)
    result = register(context, site.settings)
    assert isinstance(result, dg.SensorResult) and result.dynamic_partitions_requests
    keys = result.dynamic_partitions_requests[0].partition_keys
    assert [key for key in keys if key.startswith("ace-7b")] == [f"ace-7b@{commit[:8]}"]


# --- definitions ---


def test_sensors_are_off_until_somebody_switches_them_on(tmp_path: Path) -> None:
    settings = Settings(tmp_path, (REPOSITORY / "data",), "cpu")
    found = {sensor.name: sensor for sensor in build_sensors(settings)}
    assert {"discover_kin", "discover_qwen3", "discover_llama3"} < set(found)
    for name, sensor in found.items():
        if name.startswith("discover_"):
            assert sensor.default_status == dg.DefaultSensorStatus.STOPPED
            assert sensor.minimum_interval_seconds == 600


def test_a_broken_registry_does_not_keep_definitions_from_loading(site: Site) -> None:
    site.home.mkdir()
    site.registry.write_text("{")
    assert build_defs(site.settings).get_repository_def().has_sensor_def("discover_acme")


def test_names_of_sensors_are_valid_and_different() -> None:
    names = sensor_names(["a-b", "a.b", "a_b", "a", "a-b-2"])
    assert len(set(names.values())) == 5
    assert all(re.fullmatch(r"discover_\w+", name) for name in names.values())
    assert sensor_names(["qwen3"]) == {"qwen3": "discover_qwen3"}


def test_the_embedded_family_has_nothing_new(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faq_pipeline.settings.REPOSITORY", REPOSITORY)
    site.repository = build_defs(site.settings).get_repository_def()
    tick = site.tick(sensor="discover_kin")
    assert tick.skipped is not None and tick.skipped.startswith("no change; 3 new partitions")
    assert not tick.asked and site.settings.catalog.member("kin-4m")[1].path is not None
