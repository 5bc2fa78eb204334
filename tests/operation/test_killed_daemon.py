"""Backfills under a daemon that is killed twice: all cells are completed, and nothing is made twice.

One home serves the module, with the repository's own instance configuration but for its waits; the
daemon and the webserver are processes of their own, as in the documentation. A backfill from the
command line and one from GraphQL ask for the same members x recipes at once. The daemon alone is
killed while a stage is being made. When the runs of that moment have ended, another backfill brings new
work, and all processes of the daemon are killed together during it. `make faults` (FAQ_ALL_MOMENTS) asks
for two members x four recipes, which takes a quarter of an hour; else three recipes of one member make do.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

from faq_pipeline.execution.graph import STAGES
from faq_pipeline.orchestration.backfills import LAUNCH
from faq_pipeline.planning.cell_plan import cell_plans, declared_keys
from faq_pipeline.settings import REPOSITORY, Settings
from faq_pipeline.store.store import Store
from tests.faults.table import FaultTable
from tests.operation.quick_daemon import write_instance
from tests.orchestration.cli import Faq, FaqHere
from tests.services import PATIENCE, Service, answers, free_port, script, until

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fault_table")]

EVERY = bool(os.environ.get("FAQ_ALL_MOMENTS"))
MEMBERS = ("tiny-s", *(("tiny-m",) if EVERY else ()))
RECIPES = ("tiny-rtn", "tiny-raw", *(("tiny-faq",) if EVERY else ()))
LATE = "tiny-chat"
"""The recipe that is asked for between the kills. So something is left to be made, whatever ran by then."""
CELLS = len(MEMBERS) * len(RECIPES)
ASKED = ("backfill", "--members", ",".join(MEMBERS), "--recipes", ",".join(RECIPES))
GOING_ON = [DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING, DagsterRunStatus.STARTED]
ENDED = ("COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED")


@dataclass
class World:
    """A home with its services, and what was noted on the way."""

    faq: Faq
    instance: DagsterInstance
    port: int
    daemons: list[Service] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def here(self) -> FaqHere:
        return FaqHere(self.faq.home, self.faq.data)

    @property
    def store(self) -> Store:
        return Store(self.faq.home / "store")

    def environment(self) -> dict[str, str]:
        return {**self.faq.environment, "DAGSTER_HOME": str(self.faq.home / "dagster")}

    def start_daemon(self) -> Service:
        command = [sys.executable, "-m", "tests.operation.quick_daemon", "run", "-w", "workspace.yaml"]
        daemon = Service(command, self.environment(), self.faq.home / f"daemon-{len(self.daemons)}.log")
        self.daemons.append(daemon.start())
        return daemon

    def graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """As `curl` would ask the webserver."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=300) as answer:
            return dict(json.load(answer)["data"])

    def runs(self, *statuses: DagsterRunStatus) -> list[dg.DagsterRun]:
        return list(self.instance.get_runs(filters=RunsFilter(statuses=list(statuses) or None)))

    def launch(self, partitions: list[str]) -> str:
        """The id of a backfill of all stages that GraphQL launched."""
        params = {"assetSelection": [{"path": [name]} for name in STAGES], "partitionNames": partitions}
        return str(self.graphql(LAUNCH, {"params": params})["launchPartitionBackfill"]["backfillId"])

    def stage_under_way(self) -> bool:
        """A stage is being made, and no run is between the queue and its first step.

        One that is killed there is found after Dagster's own three minutes for a start.
        """
        staging = list((self.store.root / ".staging").glob("*"))
        going_on = self.runs(*GOING_ON)
        return bool(staging) and all(run.status is DagsterRunStatus.STARTED for run in going_on)

    def failed(self) -> list[dg.DagsterRun]:
        return self.runs(DagsterRunStatus.FAILURE)

    def misses(self) -> Counter[str]:
        """By fingerprint, how often an event says that it was made."""
        return Counter(
            str(one.metadata["fingerprint"].value)
            for run in self.runs()
            for one in materializations(self.instance, run.run_id)
            if one.metadata["cache"].value == "miss"
        )

    def manifests(self) -> dict[str, int]:
        """When each artifact was written, by fingerprint."""
        return {a.path.name: (a.path / "manifest.json").stat().st_mtime_ns for a in self.store.folders()}


def materializations(instance: DagsterInstance, run_id: str) -> list[dg.AssetMaterialization]:
    entries = instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    events = [entry.dagster_event for entry in entries]
    return [e.step_materialization_data.materialization for e in events if e is not None]


@pytest.fixture(scope="module")
def world(matrix_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("operation")
    faq = Faq(root / "home", Path(shutil.copytree(matrix_data, root / "data")))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in faq.environment.items():
            patch.setenv(name, value)
        patch.delenv("DAGSTER_HOME", raising=False)
        write_instance(faq.home / "dagster")
        patch.setenv("DAGSTER_HOME", str(Settings.from_environment().dagster_home()))
        with DagsterInstance.get() as instance:
            world = World(faq, instance, free_port())
            try:
                yield world
            finally:
                for daemon in world.daemons:
                    daemon.kill_group()


@pytest.fixture(scope="module")
def lost(world: World) -> dict[str, Any]:
    """A backfill that is queued before there is a daemon, and whose seeds are gone before it runs."""
    done = world.here("backfill", "--members", "tiny-s", "--recipes", "tiny-lost", "--json")
    assert done.returncode == 0, done.stderr
    (world.faq.data / "seeds/lost.jsonl").unlink()
    return {**json.loads(done.stdout), "stderr": done.stderr}


@pytest.fixture(scope="module")
def webserver(world: World) -> Iterator[Service]:
    command = [script("dagster-webserver"), "-w", "workspace.yaml", "-p", str(world.port)]
    service = Service(command, world.environment(), world.faq.home / "webserver.log").start()
    try:
        until(
            "the webserver", lambda: service.check() and answers(f"http://127.0.0.1:{world.port}/server_info")
        )
        yield service
    finally:
        service.kill_group()


@pytest.fixture(scope="module")
def finished(world: World, lost: dict[str, Any], webserver: Service) -> dict[str, Any]:
    """Both backfills, after both kills; what `faq backfill --wait --json` printed, and its exit code."""
    daemon = world.start_daemon()
    until("the failure of the lost cell", lambda: daemon.check() and world.failed())
    waiting = subprocess.Popen(
        world.faq.command(*ASKED, "--wait", "--json"),
        env=world.faq.environment,
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        settings = Settings.from_environment()
        keys = [s.cell.partition for s in cell_plans(settings, list(MEMBERS), list(RECIPES)) if s.cell]
        late = [s.cell.partition for s in cell_plans(settings, list(MEMBERS), [LATE]) if s.cell]
        until("the command's backfill", lambda: len(world.instance.get_backfills()) == 2)
        launched = [world.launch(keys)]
        successor = kill_daemon(world, daemon)
        launched.append(world.launch(late))
        kill_all(world, successor)
        for one in launched:
            until("the end of GraphQL's backfills", lambda one=one: ended(world, one))
        out, err = waiting.communicate(timeout=PATIENCE)
    finally:
        waiting.kill()
    world.notes |= {"cli": json.loads(out), "code": waiting.returncode, "stderr": err}
    return {**world.notes, "graphql": launched, "partitions": keys}


def kill_daemon(world: World, daemon: Service) -> Service:
    """Kill the daemon alone during a stage, and wait for the runs of that moment to end; its successor."""
    until("a stage under way", lambda: daemon.check() and world.stage_under_way(), look=0.05)
    in_flight = {run.run_id for run in world.runs(DagsterRunStatus.STARTED)}
    world.notes["in flight"] = sorted(in_flight)
    daemon.kill()
    successor = world.start_daemon()

    def gone() -> bool:
        return in_flight.isdisjoint(run.run_id for run in world.runs(*GOING_ON))

    until("the end of the runs in flight", lambda: successor.check() and gone())
    return successor


def kill_all(world: World, daemon: Service) -> None:
    """Kill the daemon with its code server and its runs during a stage; another daemon goes on."""
    until("a later stage under way", lambda: daemon.check() and world.stage_under_way(), look=0.05)
    for one in world.daemons:
        one.kill_group()
    world.notes["killed"] = [run.run_id for run in world.runs(DagsterRunStatus.STARTED)]
    world.notes["there"] = world.manifests()
    world.start_daemon()


def ended(world: World, backfill_id: str) -> bool:
    world.daemons[-1].check()
    backfill = world.instance.get_backfill(backfill_id)
    return backfill is not None and backfill.status.value in ENDED


def test_a_command_without_a_daemon_says_so(lost: dict[str, Any]) -> None:
    assert "no Dagster daemon is running (none has run here yet); start one: make ui" in lost["stderr"]


def test_ctrl_c_leaves_the_backfill_and_says_how_to_go_on(world: World, lost: dict[str, Any]) -> None:
    following = subprocess.Popen(
        world.faq.command("backfill", "--follow", lost["backfill"]),
        env=world.faq.environment,
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert following.stderr is not None
    assert "no Dagster daemon is running" in following.stderr.readline()
    following.send_signal(signal.SIGINT)
    assert (
        f"faq backfill --follow {lost['backfill']}; to cancel it: faq backfill --cancel"
        in following.stderr.read()
    )
    assert following.wait() == 130
    backfill = world.instance.get_backfill(lost["backfill"])
    assert backfill is not None and backfill.status.value == "REQUESTED"


def test_both_backfills_complete_every_cell(
    world: World, finished: dict[str, Any], fault_table: FaultTable
) -> None:
    with fault_table.trial("a backfill whose daemon is killed, alone and with its runs"):
        assert finished["code"] == 0, finished["stderr"]
        assert finished["cli"]["complete"] and set(finished["cli"]["partitions"]) == set(
            finished["partitions"]
        )
        assert {cell["status"] for cell in finished["cli"]["cells"]} == {"done"}
        assert finished["stderr"].count("  done ") == len(finished["partitions"]) == CELLS
        for one in finished["graphql"]:
            backfill = world.instance.get_backfill(one)
            assert backfill is not None and backfill.is_asset_backfill
            assert backfill.status.value == "COMPLETED_SUCCESS"
        for state in cell_plans(Settings.from_environment(), list(MEMBERS), [*RECIPES, LATE]):
            assert state.complete, state


def test_nothing_is_made_twice(world: World, finished: dict[str, Any]) -> None:
    states = cell_plans(Settings.from_environment(), list(MEMBERS), [*RECIPES, LATE])
    wanted = {key for state in states if state.cell for key in declared_keys(state.cell).values()}
    written = world.manifests()
    assert len(written) == len(wanted)
    misses = world.misses()
    assert set(misses.values()) == {1}
    # Of what was written in the very moment of the kill, no event may tell.
    assert set(misses) <= set(written) and set(written) - set(misses) <= set(finished["there"])
    assert finished["there"].items() <= written.items()
    assert not list((world.store.root / ".staging").glob("*"))


def test_runs_outlive_the_daemon_and_those_that_died_with_it_were_run_again(
    world: World, finished: dict[str, Any]
) -> None:
    def status(run_id: str) -> DagsterRunStatus:
        run = world.instance.get_run_by_id(run_id)
        assert run is not None
        return run.status

    # Killed alone, the daemon leaves its code server, and the runs, to end what they are at.
    assert finished["in flight"] and {status(one) for one in finished["in flight"]} == {
        DagsterRunStatus.SUCCESS
    }
    assert finished["killed"] and {status(one) for one in finished["killed"]} == {DagsterRunStatus.FAILURE}
    for run_id in finished["killed"]:
        (again,) = world.instance.get_runs(filters=RunsFilter(tags={"dagster/parent_run_id": run_id}))
        assert again.status is DagsterRunStatus.SUCCESS


def test_a_cell_that_fails_is_named_with_its_reason(
    world: World, finished: dict[str, Any], lost: dict[str, Any]
) -> None:
    done = world.here("backfill", "--follow", lost["backfill"], "--json")
    assert done.returncode == 1
    (cell,) = json.loads(done.stdout)["cells"]
    assert cell["status"] == "failed" and "lost.jsonl" in cell["reason"]
    assert cell["partition"] in done.stderr and "lost.jsonl" in done.stderr


def test_dagsters_own_command_launches_the_same(world: World, finished: dict[str, Any]) -> None:
    (key,) = [one for one in finished["partitions"] if one.startswith("tiny-s") and one.endswith("tiny-rtn")]
    command = [script("dagster"), "job", "backfill", "-w", "workspace.yaml", "-j", "quantize"]
    before = {one.backfill_id for one in world.instance.get_backfills()}
    launched = subprocess.run(
        [*command, "--partitions", key, "--noprompt"],
        env=world.environment(),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert launched.returncode == 0, launched.stderr
    (backfill,) = [one for one in world.instance.get_backfills() if one.backfill_id not in before]
    done = world.here("backfill", "--follow", backfill.backfill_id, "--json")
    assert done.returncode == 0, done.stderr
    (cell,) = json.loads(done.stdout)["cells"]
    assert cell["partition"] == key and cell["made"] == 0
