"""Whose run it is: told in a pipe, whatever host and PID namespace, and freed when its process is gone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from dagster._core.events import RunFailureReason
from dagster._core.execution.retries import auto_reexecution_should_retry_run
from dagster._core.storage.tags import TAGS_TO_MAYBE_OMIT_ON_RETRY
from dagster._core.test_utils import create_run_for_test

from faq_pipeline.orchestration import slot_waits
from faq_pipeline.orchestration.dagster_internals.pool_slots import LOOK, SlotClaims, without_slots
from faq_pipeline.orchestration.dagster_internals.run_execution import install_owned_runs
from faq_pipeline.orchestration.dagster_internals.run_records import NOT_RETRIED
from faq_pipeline.orchestration.run_owners import MARK, Owner, end_dead_runs, mark_tag, owned, owner_of
from faq_pipeline.orchestration.runs import open_instance
from faq_pipeline.orchestration.slot_waits import TELL, SlotWaits
from faq_pipeline.settings import REPOSITORY, Settings
from faq_pipeline.util.locks import ProcessLock, is_locked
from faq_pipeline.util.processes import mark_is_dead, own_mark
from tests.faults.table import FaultTable
from tests.orchestration.cli import Faq
from tests.services import until

POOL = "gpu"
LIVENESS = "liveness of the process of a run"


def can_unshare() -> bool:
    """Whether this process may make namespaces."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*ELSEWHERE, "true"], capture_output=True, check=False).returncode == 0


ELSEWHERE = ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"]
"""A command there has another host name and another PID namespace, as in a container."""
ELSEWHERE = [*ELSEWHERE, 'hostname elsewhere && exec "$@"', "sh"]
needs_namespaces = pytest.mark.skipif(not can_unshare(), reason="may make no namespaces")


@dataclass
class Holder:
    """A live process whose run holds the slot."""

    process: subprocess.Popen[bytes]
    run_id: str
    mark: str

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def faq(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Faq:
    """A home that this process has too."""
    faq = Faq(tmp_path / "home", tiny_data)
    for name in ("FAQ_HOME", "FAQ_DATA", "FAQ_DEVICE"):
        monkeypatch.setenv(name, faq.environment[name])
    monkeypatch.setenv("DAGSTER_HOME", str(faq.home / "dagster"))
    return faq


@pytest.fixture
def hold(faq: Faq, tmp_path: Path) -> Iterator[Callable[..., Holder]]:
    """Starts a holder, in the world that a command makes for it."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*world: str) -> Holder:
        told = tmp_path / f"held-{len(started)}"
        process = subprocess.Popen(
            [*world, sys.executable, "-m", "tests.orchestration.slot_holder", str(told)],
            cwd=REPOSITORY,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        started.append(process)
        while not told.exists():
            assert process.poll() is None
            time.sleep(0.05)
        return Holder(process, *told.read_text().split())

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def opened() -> tuple[str, int]:
    """Status of the holder's run, and slots taken, after the next command has opened the instance."""
    with open_instance(Settings.from_environment()) as instance:
        (run,) = instance.get_runs()
        return run.status.value, instance.event_log_storage.get_concurrency_info(POOL).active_slot_count


@pytest.mark.parametrize(
    "world", [(), pytest.param(tuple(ELSEWHERE), marks=needs_namespaces)], ids=["here", "elsewhere"]
)
def test_a_live_run_keeps_its_slot_and_a_killed_one_loses_it(
    hold: Callable[..., Holder], world: tuple[str, ...], fault_table: FaultTable
) -> None:
    """Also where the one that looks has another host name and PID namespace than the one that ran."""
    with fault_table.trial(LIVENESS):
        holder = hold(*world)
        assert opened() == ("STARTED", 1)
        assert not mark_is_dead(holder.mark)
        holder.kill()
        # Its own namespace's first process ends a moment after the one that made the namespace.
        until("the end of the run", lambda: opened() == ("FAILURE", 0), patience=30)
        assert mark_is_dead(holder.mark) is not bool(world)  # of another namespace nothing is known


LOOKS = """
from faq_pipeline.orchestration.runs import open_instance
from faq_pipeline.settings import Settings
from faq_pipeline.util.processes import mark_is_dead
import sys
with open_instance(Settings.from_environment()) as instance:
    print(mark_is_dead(sys.argv[1]), *(run.status.value for run in instance.get_runs()))
"""


@needs_namespaces
def test_a_look_from_another_namespace_buries_no_live_run(
    hold: Callable[..., Holder], fault_table: FaultTable
) -> None:
    with fault_table.trial(LIVENESS):
        holder = hold()
        command = [*ELSEWHERE, sys.executable, "-c", LOOKS, holder.mark]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert done.stdout.split() == ["False", "STARTED"], done.stderr
        holder.kill()
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert done.stdout.split() == ["False", "FAILURE"], done.stderr


@pytest.mark.slow
def test_a_run_that_waits_says_for_whom_in_a_pipe_and_goes_on_when_it_is_killed(
    faq: Faq, hold: Callable[..., Holder], fault_table: FaultTable
) -> None:
    with fault_table.trial(LIVENESS):
        holder = hold()
        waiting = subprocess.Popen(
            faq.command("run", "--member", "tiny-s", "--recipe", "tiny-faq"),
            env=faq.environment,
            cwd=REPOSITORY,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert waiting.stderr is not None
            told = next(line for line in waiting.stderr if "waits" in line)
            assert f"note waits for a slot of pool gpu, held by pid {holder.process.pid} of " in told
            assert f", run {holder.run_id[:8]} since 20" in told and told.endswith(": holding, step hold\n")
            holder.kill()
            rest = waiting.stderr.read()
            assert waiting.wait() == 0, rest
        finally:
            waiting.kill()


# --- one instance in this process ---


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    overrides = {"concurrency": {"pools": {"granularity": "op", "default_limit": 1}}}
    with dg.instance_for_test(temp_dir=str(tmp_path), overrides=overrides) as instance:
        instance.event_log_storage.initialize_concurrency_limit_to_default(POOL)
        yield instance


def started(instance: dg.DagsterInstance, **tags: str) -> dg.DagsterRun:
    return create_run_for_test(instance, status=DagsterRunStatus.STARTED, tags=tags)


def take(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    assert instance.event_log_storage.claim_concurrency_slot(POOL, run.run_id, "its_step").is_claimed


@contextmanager
def killed_owner(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Iterator[None]:
    """The lock file of a run that nobody holds any more, as a kill leaves it."""
    folder = Path(instance.storage_directory()) / "run_owners"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{run.run_id}.lock").touch()
    yield
    assert not list(folder.iterdir())


def test_it_is_told_at_once_and_then_every_minute(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, waiting = started(instance), started(instance)
    take(instance, other)
    now, notes = 1000.0, list[str]()
    monkeypatch.setattr(slot_waits.time, "monotonic", lambda: now)
    waits = SlotWaits(instance, waiting.run_id, notes.append)
    with owned(instance, other):
        for second in range(150):
            now = 1000.0 + second
            waits.look(POOL)
        assert len(notes) == 1 + int(149 // TELL)
        waits.over(POOL)
        waits.look(POOL)  # another wait
        assert len(notes) == 2 + int(149 // TELL)
    assert all(f"held by pid {os.getpid()} of " in note and other.run_id[:8] in note for note in notes)


def test_of_a_run_of_unknown_whereabouts_it_is_told_what_to_do(instance: dg.DagsterInstance) -> None:
    other, waiting, notes = started(instance), started(instance), list[str]()
    take(instance, other)
    assert owner_of(instance, other) is Owner.UNKNOWN
    assert not SlotWaits(instance, waiting.run_id, notes.append).look(POOL)
    (note,) = notes
    assert other.run_id[:8] in note and "cancel the run in the UI" in note
    instance.report_run_canceled(other)
    assert SlotWaits(instance, waiting.run_id, notes.append).look(POOL)


def test_a_pool_without_slots_is_told(instance: dg.DagsterInstance) -> None:
    notes: list[str] = []
    instance.event_log_storage.set_concurrency_slots(POOL, 0)
    SlotWaits(instance, started(instance).run_id, notes.append).look(POOL)
    assert notes == ["waits: pool gpu has no slots (dagster instance concurrency set gpu 1)"]


def test_who_waits_frees_the_slot_of_a_dead_run_and_of_a_dead_one_in_the_queue(
    instance: dg.DagsterInstance,
) -> None:
    dead, queued, waiting = started(instance), started(instance), started(instance)
    take(instance, dead)
    claims = instance.event_log_storage
    assert not claims.claim_concurrency_slot(POOL, queued.run_id, "its_step").is_claimed
    with killed_owner(instance, dead), killed_owner(instance, queued), SlotClaims(instance, waiting) as ours:
        assert not ours.claim(POOL, "step")
        for _ in range(2):  # the one in the queue may have been given the slot meanwhile
            ours._pending_timeouts["step"] = ours._next_look["step"] = 0.0
            if ours.claim(POOL, "step"):
                break
    assert [claim.run_id for claim in claims.get_concurrency_info(POOL).claimed_slots] == [waiting.run_id]
    statuses = [instance.get_run_by_id(run.run_id).status for run in (dead, queued)]  # type: ignore[union-attr]
    assert statuses == [DagsterRunStatus.FAILURE] * 2


def test_a_step_whose_artifact_another_run_has_made_meanwhile_waits_no_longer(
    instance: dg.DagsterInstance,
) -> None:
    other, waiting, made = started(instance), started(instance), set[str]()
    take(instance, other)
    with owned(instance, other), SlotClaims(instance, waiting) as claims:
        with without_slots(waiting.run_id, made, lambda note: None):
            assert not claims.claim(POOL, "step")
            made.add("step")
            claims._next_look["step"] = time.monotonic() - LOOK
            assert claims.claim(POOL, "step") and not claims.has_pending_claims()
        pending = instance.event_log_storage.get_concurrency_info(POOL).pending_steps
        assert waiting.run_id not in {step.run_id for step in pending}


def test_a_run_that_was_created_and_never_started_ends_with_its_process(instance: dg.DagsterInstance) -> None:
    gone = subprocess.run(
        [sys.executable, "-c", "from faq_pipeline.util.processes import own_mark; print(own_mark())"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    marks = {"ours": own_mark(), "gone": gone, "another boot's": f"0{gone}", "unreadable": "a:b:c:d"}
    runs = {name: create_run_for_test(instance) for name in ("no mark", "of an earlier version", *marks)}
    for name, mark in marks.items():
        instance.add_run_tags(runs[name].run_id, {MARK: f"{runs[name].run_id} {mark}"})
    instance.add_run_tags(runs["of an earlier version"].run_id, {MARK: gone})
    end_dead_runs(instance)
    statuses = {name: instance.get_run_by_id(run.run_id).status for name, run in runs.items()}  # type: ignore[union-attr]
    assert statuses == {
        name: DagsterRunStatus.FAILURE
        if name in ("gone", "of an earlier version")
        else DagsterRunStatus.NOT_STARTED
        for name in runs
    }


@dg.op
def nothing() -> None: ...


def test_a_run_that_re_executes_one_of_the_cli_is_not_taken_for_dead_and_is_retried(tmp_path: Path) -> None:
    """It gets the tags of its parent: the mark of a process that is gone, and that it is not retried."""
    install_owned_runs()
    job = dg.GraphDefinition(name="one", node_defs=[nothing]).to_job()
    overrides = {"run_retries": {"enabled": True, "max_retries": 3}}
    with dg.instance_for_test(temp_dir=str(tmp_path), overrides=overrides) as instance:
        parent = create_run_for_test(instance)
        tags = {MARK: f"{mark_tag(parent.run_id)[MARK]}0", **NOT_RETRIED}
        instance.add_run_tags(parent.run_id, tags)
        copied = {
            **{name: value for name, value in tags.items() if name not in TAGS_TO_MAYBE_OMIT_ON_RETRY},
            "dagster/parent_run_id": parent.run_id,
            "dagster/root_run_id": parent.run_id,
        }
        assert copied.items() >= tags.items()
        again = create_run_for_test(instance, tags=copied, status=DagsterRunStatus.STARTING)
        end_dead_runs(instance)
        ended, lives = (instance.get_run_by_id(run.run_id) for run in (parent, again))
        assert ended is not None and ended.status is DagsterRunStatus.FAILURE
        assert lives is not None and lives.status is DagsterRunStatus.STARTING
        assert owner_of(instance, lives) is Owner.UNKNOWN
        assert ended.tags["dagster/will_retry"] == "false"
        done = instance.get_run_by_id(job.execute_in_process(instance=instance, tags=copied).run_id)
        assert done is not None
        done = done.with_status(DagsterRunStatus.FAILURE)
        assert auto_reexecution_should_retry_run(instance, done, RunFailureReason.UNKNOWN)


def test_a_forked_child_does_not_hold_its_parents_lock(tmp_path: Path) -> None:
    lock = ProcessLock(tmp_path / "a.lock")
    assert lock.acquire()
    handle = lock._handle
    assert handle is not None
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, b"x")
        signal.pause()
    try:
        os.read(reading, 1)
        assert is_locked(tmp_path / "a.lock")  # what the child let go is still its parent's
        os.close(handle)  # as the end of a killed parent does; `release` also unlocks
        lock._handle = None
        assert not is_locked(tmp_path / "a.lock")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
