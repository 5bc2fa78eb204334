"""The deployment's own processes, by hand: PostgreSQL, code server, daemon and webserver.

What docker-compose.yaml starts is started here with the same arguments and the same dagster.yaml and
workspace.yaml; images are not built.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster import DagsterEventType, DagsterInstance
from dagster._core.launcher.base import WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG

from faq_pipeline.definitions import build_defs
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.orchestration.tags import GPU_POOL
from faq_pipeline.settings import REPOSITORY
from tests.orchestration.cli import Faq
from tests.postgres import Postgres, find_binaries, postgres_server
from tests.services import PATIENCE, Service, answers, free_port, script, until

pytestmark = pytest.mark.slow

DEPLOY = REPOSITORY / "deploy"


@dataclass(frozen=True)
class DeployedFaq(Faq):
    """`faq` beside a deployment: Dagster's home is not under its own."""

    more: dict[str, str]

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, **self.more}


@dataclass(frozen=True)
class Deployment:
    """The running services, and the instance that they share."""

    faq: DeployedFaq
    postgres: Postgres
    services: dict[str, Service]
    instance: DagsterInstance
    backfill: subprocess.Popen[str]
    """`faq backfill --wait` of two cells of one member, asked for before there was a daemon."""


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL here (initdb is neither in PATH nor in /usr/lib/postgresql)")
    with postgres_server(binaries) as server:
        yield server


@pytest.fixture(scope="module")
def deployment(
    postgres: Postgres, matrix_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    root = tmp_path_factory.mktemp("deployment")
    home = root / "dagster"
    home.mkdir()
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(DEPLOY / name, home)
    ports = {"FAQ_CODE_PORT": free_port(), "webserver": free_port()}
    more = {
        **postgres.environment,
        "DAGSTER_HOME": str(home),
        "FAQ_CODE_HOST": "127.0.0.1",
        "FAQ_CODE_PORT": str(ports["FAQ_CODE_PORT"]),
    }
    faq = DeployedFaq(root / "home", matrix_data, more)
    services = {
        name: Service(command(name, home, ports), faq.environment, root / f"{name}.log")
        for name in ("code-server", "daemon", "webserver")
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in faq.environment.items():
            patch.setenv(name, value)
        try:
            health = [script("dagster"), "api", "grpc-health-check", "--port", more["FAQ_CODE_PORT"]]
            server = services["code-server"].start()
            until("the code server", lambda: server.check() and succeeds(health))
            web = services["webserver"].start()
            with DagsterInstance.get() as instance, two_cells_backfill(faq) as backfill:
                # A daemon looks for backfills when it starts, and next half a minute later.
                until("the backfill", lambda: bool(instance.get_backfills()) or backfill.poll() is not None)
                daemon = services["daemon"].start()
                url = f"http://127.0.0.1:{ports['webserver']}/server_info"
                until("the webserver", lambda: web.check() and daemon.check() and answers(url))
                yield Deployment(faq, postgres, services, instance, backfill)
        finally:
            for service in services.values():
                if hasattr(service, "process"):
                    service.kill_group()


@contextmanager
def two_cells_backfill(faq: Faq) -> Iterator[subprocess.Popen[str]]:
    asked = ("--members", "tiny-s", "--recipes", "tiny-raw,tiny-rtn")
    with subprocess.Popen(
        faq.command("backfill", *asked, "--wait", "--json"),
        env=faq.environment,
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as waiting:
        try:
            yield waiting
        finally:
            waiting.kill()


def command(name: str, home: Path, ports: dict[str, int]) -> list[str]:
    """A service's command of the compose file, with the ports and the home of here."""
    compose = yaml.safe_load((DEPLOY / "docker-compose.yaml").read_text(encoding="utf-8"))
    program, *arguments = compose["services"][name]["command"]
    here = {
        "--port=4000": f"--port={ports['FAQ_CODE_PORT']}",
        "--port=3000": f"--port={ports['webserver']}",
        "--workspace=/opt/dagster/workspace.yaml": f"--workspace={home}/workspace.yaml",
    }
    return [script(program), *(here.get(one, one) for one in arguments)]


def succeeds(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def two_cells(deployment: Deployment) -> dict[str, Any]:
    """Two cells of one member at once, through daemon and code server."""
    out, err = deployment.backfill.communicate(timeout=PATIENCE)
    assert deployment.backfill.returncode == 0, err + deployment.services["daemon"].said()
    return dict(json.loads(out))


def test_cells_are_completed_on_postgres(deployment: Deployment, two_cells: dict[str, Any]) -> None:
    assert two_cells["complete"] and [cell["status"] for cell in two_cells["cells"]] == ["done", "done"]
    storage = deployment.instance.event_log_storage
    assert type(storage).__name__ == "PostgresEventLogStorage"
    for cell in two_cells["cells"]:
        run = deployment.instance.get_run_by_id(cell["run"])
        assert run is not None and run.tags["dagster/partition"] == cell["partition"]
        server = json.loads(run.tags[GRPC_INFO_TAG])
        assert server["port"] == int(deployment.faq.more["FAQ_CODE_PORT"])


def test_of_two_runs_at_once_one_step_is_in_the_pool(
    deployment: Deployment, two_cells: dict[str, Any]
) -> None:
    """Of those that make something: a step whose artifact the other run has made needs no slot."""
    definitions = build_defs()
    pooled = {name for name in STAGES if definitions.resolve_assets_def(name).op.pool == GPU_POOL}
    runs = [cell["run"] for cell in two_cells["cells"]]
    spans = sorted(span for run in runs for span in spans_of(deployment.instance, run, pooled))
    assert len(spans) == len(runs) * len(pooled)
    for (_, end, _, _), (start, _, _, _) in pairwise(span for span in spans if span[3] == "miss"):
        assert end <= start
    order = [run for _, _, run, _ in spans]
    assert order != sorted(order, key=order.index), "the runs were not under way at once"


def spans_of(instance: DagsterInstance, run: str, steps: set[str]) -> Iterator[tuple[float, float, str, str]]:
    """When each of these steps began and ended, its run, and whether it was a `hit` or a `miss`."""
    begun: dict[str, float] = {}
    caches: dict[str, str] = {}
    kinds = {
        DagsterEventType.STEP_START,
        DagsterEventType.ASSET_MATERIALIZATION,
        DagsterEventType.STEP_SUCCESS,
    }
    for entry in instance.all_logs(run, of_type=kinds):
        event = entry.dagster_event
        assert event is not None and event.step_key is not None
        if event.step_key not in steps:
            continue
        if event.event_type is DagsterEventType.STEP_START:
            begun[event.step_key] = entry.timestamp
        elif event.event_type is DagsterEventType.ASSET_MATERIALIZATION:
            made = event.step_materialization_data.materialization
            caches[event.step_key] = str(made.metadata["cache"].value)
        else:
            yield begun[event.step_key], entry.timestamp, run, caches[event.step_key]


def test_the_storage_migrates(deployment: Deployment, two_cells: dict[str, Any]) -> None:
    done = subprocess.run(
        [script("dagster"), "instance", "migrate"],
        env=deployment.faq.environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "alembic_version" in deployment.postgres.dump()
    assert deployment.instance.get_run_by_id(two_cells["cells"][0]["run"]) is not None


def test_another_hosts_code_server_is_asked_for_its_runs(
    deployment: Deployment, two_cells: dict[str, Any]
) -> None:
    """As in the containers, where the daemon does not see the runs' processes."""
    run = deployment.instance.get_run_by_id(two_cells["cells"][0]["run"])
    assert run is not None
    elsewhere = {"host": socket.gethostname(), "port": int(deployment.faq.more["FAQ_CODE_PORT"])}
    launcher = deployment.instance.run_launcher
    ended = run.with_tags({**run.tags, GRPC_INFO_TAG: json.dumps(elsewhere)})
    assert launcher.check_run_worker_health(ended).status is WorkerStatus.NOT_FOUND


def test_the_password_is_in_the_environment_alone(deployment: Deployment, two_cells: dict[str, Any]) -> None:
    password = deployment.postgres.password
    assert password not in deployment.postgres.dump()
    root = deployment.faq.home.parent
    files = [path for path in root.rglob("*") if path.is_file()]
    assert len(files) > 50
    assert [path for path in files if password.encode() in path.read_bytes()] == []
    assert os.environ["FAQ_PG_PASSWORD"] == password
