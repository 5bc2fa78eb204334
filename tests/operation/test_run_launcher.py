"""Run monitoring finds the runs whose process is gone, and no others."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.events import EngineEventData
from dagster._core.launcher.base import WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._core.test_utils import create_run_for_test

from faq_pipeline.orchestration.run_launcher import WatchedRunLauncher
from faq_pipeline.orchestration.run_owners import MARK, owned
from faq_pipeline.settings import REPOSITORY
from faq_pipeline.util.processes import number_in_use
from tests.services import free_port

SOCKET = {"host": "localhost", "socket": "/tmp/a-code-server-that-is-gone"}


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[DagsterInstance]:
    """An instance of the repository's own configuration."""
    (tmp_path / "dagster.yaml").symlink_to(REPOSITORY / "dagster.yaml")
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def started(instance: DagsterInstance, pid: int | None = None, **tags: str) -> dg.DagsterRun:
    """A run that counts as started; its process, if it has said so, had that number."""
    run = create_run_for_test(instance, status=DagsterRunStatus.STARTED, tags=tags)
    if pid is not None:
        instance.report_engine_event(
            f"Started process for run (pid: {pid}).", run, EngineEventData.in_process(pid)
        )
    return run


def status(instance: DagsterInstance, run: dg.DagsterRun) -> WorkerStatus:
    launcher = instance.run_launcher
    assert isinstance(launcher, WatchedRunLauncher) and launcher.supports_check_run_worker_health
    return launcher.check_run_worker_health(run).status


def test_a_killed_process_is_gone_though_its_code_server_is_too(
    instance: DagsterInstance, process: subprocess.Popen[bytes]
) -> None:
    run = started(instance, process.pid, **{GRPC_INFO_TAG: json.dumps(SOCKET)})
    assert status(instance, run) is WorkerStatus.RUNNING
    process.kill()
    # Nobody has asked how it ended: its number is still taken.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert psutil.pid_exists(process.pid) and status(instance, run) is WorkerStatus.NOT_FOUND
    process.wait()
    assert status(instance, run) is WorkerStatus.NOT_FOUND


def test_a_number_is_in_use_until_its_process_has_ended(process: subprocess.Popen[bytes]) -> None:
    assert number_in_use(os.getpid()) and number_in_use(process.pid)
    process.kill()
    process.wait()
    assert not number_in_use(process.pid)


def test_what_cannot_be_known_is_left_alone(instance: DagsterInstance) -> None:
    unreachable = {"host": "host.invalid", "port": free_port()}
    for run in (
        started(instance),  # `dagster asset materialize`, in its own process
        started(instance, **{GRPC_INFO_TAG: json.dumps(SOCKET)}),  # has not said which process it is
        started(instance, **{GRPC_INFO_TAG: json.dumps(unreachable)}),
        started(instance, **{MARK: "another-host:1:1"}),
        started(instance, **{MARK: "another-boot:4026531836:1:1"}),
    ):
        assert status(instance, run) is WorkerStatus.RUNNING


def test_the_lock_of_the_owner_decides(instance: DagsterInstance, process: subprocess.Popen[bytes]) -> None:
    """Whatever number the run has told: its process may have it in another namespace."""
    run = started(instance, 2**22 - 1, **{GRPC_INFO_TAG: json.dumps(SOCKET)})
    assert status(instance, run) is WorkerStatus.NOT_FOUND
    with owned(instance, run):
        assert status(instance, run) is WorkerStatus.RUNNING
        (lock,) = Path(instance.storage_directory()).glob("run_owners/*.lock")
    lock.touch()  # as a kill leaves it
    run = started(instance, process.pid, **{GRPC_INFO_TAG: json.dumps(SOCKET)})
    assert status(instance, run) is WorkerStatus.RUNNING
    lock.rename(lock.with_name(f"{run.run_id}.lock"))
    assert status(instance, run) is WorkerStatus.NOT_FOUND


def test_a_run_of_an_earlier_faq_is_watched_too(
    instance: DagsterInstance, process: subprocess.Popen[bytes]
) -> None:
    """Its mark has the host's name and a time of birth, which a step of the clock changes."""
    run = started(instance, **{MARK: f"{socket.gethostname()}:{process.pid}:{int(time.time()) - 3600}"})
    assert status(instance, run) is WorkerStatus.RUNNING
    process.kill()
    process.wait()
    assert status(instance, run) is WorkerStatus.NOT_FOUND


def test_only_what_died_with_its_process_is_run_again(instance: DagsterInstance) -> None:
    @dg.op
    def mistaken() -> None:
        raise dg.Failure("a mistake")

    @dg.job
    def fails() -> None:
        mistaken()

    died = started(instance)
    instance.report_run_failed(died, "the process of this run is gone")
    failed = fails.execute_in_process(instance=instance, raise_on_error=False)
    again = {
        run_id: run.tags.get("dagster/will_retry")
        for run_id in (died.run_id, failed.run_id)
        if (run := instance.get_run_by_id(run_id)) is not None
    }
    assert again == {died.run_id: "true", failed.run_id: "false"}
