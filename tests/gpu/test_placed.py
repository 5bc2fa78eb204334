"""When a stage takes a lease, what it is given, and in which state it gives it back."""

from __future__ import annotations

import gc
import os
import stat
import subprocess
import sys
import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock, Timeout

from faq_pipeline.core.cell import Cell
from faq_pipeline.core.stage import Build, Stage
from faq_pipeline.errors import FaqError
from faq_pipeline.execution.runner import Outcome, materialize
from faq_pipeline.gpu.placement import GpuPlacement
from faq_pipeline.settings import REPOSITORY
from faq_pipeline.store.store import Store
from faq_pipeline.study.execution.workers import SharedGpus, TaskOutcome, shared_gpus
from faq_pipeline.util.progress import SilentProgress
from tests.gpu.conftest import Start
from tests.gpu.fakes import make_cell, make_gpus, make_stage


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch, leases: Path) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("faq_pipeline.models.gpus.installed_gpus", lambda: make_gpus("Fake", "Fake"))


@pytest.fixture
def cell(two_gpus: None, tmp_path: Path) -> Cell:
    return make_cell(tmp_path / "cell", "cuda")


def made(stage: Stage, cell: Cell, folder: Path) -> Outcome:
    return materialize(stage.name, cell, {stage.name: stage}, Store(folder))


def nothing(job: Build) -> None: ...


def is_held(leases: Path, number: int) -> bool:
    uuid = make_gpus("Fake", "Fake")[number].uuid
    try:
        with FileLock(leases / f"{uuid}.lock", timeout=0):
            return False
    except Timeout:
        return True


def test_a_stage_is_built_on_the_gpus_that_it_takes(cell: Cell, leases: Path, tmp_path: Path) -> None:
    held: list[list[bool]] = []

    def build(job: Build) -> None:
        held.append([is_held(leases, number) for number in (0, 1)])

    for count, device in ((1, "cuda:0"), (2, "cuda:0,1"), (8, "cuda:0,1")):
        outcome = made(make_stage(f"wants-{count}", count, build), cell, tmp_path / "store")
        assert outcome.artifact.metadata["device"] == device
    assert held == [[True, False], [True, True], [True, True]]
    assert not is_held(leases, 0) and not is_held(leases, 1)


def test_no_lease_is_taken_for_what_needs_no_gpu(cell: Cell, leases: Path, tmp_path: Path) -> None:
    made(make_stage("text", None, nothing), cell, tmp_path / "store")
    made(make_stage("passed-through", 0, nothing), cell, tmp_path / "store")
    made(make_stage("model", 1, nothing), make_cell(tmp_path / "cell", "cpu"), tmp_path / "store")
    assert not leases.exists()


def test_gpus_that_the_caller_holds_are_used_as_they_come(cell: Cell, leases: Path, tmp_path: Path) -> None:
    stage, store = make_stage("model", 1, nothing), Store(tmp_path / "store")
    with shared_gpus("cuda", 16, "study", SilentProgress()) as gpus:
        assert is_held(leases, 0) and is_held(leases, 1)
        outcome = materialize(stage.name, cell, {stage.name: stage}, store, held=gpus[1:])
        assert outcome.artifact.metadata["device"] == f"cuda:{gpus[1].number}"
    assert not is_held(leases, 0) and not is_held(leases, 1)


@pytest.mark.parametrize(("device", "processes"), [("cuda", 4), ("cuda:1", 2), ("cpu", 64)])
def test_workers_of_a_study_take_turns_unless_there_are_many(
    cell: Cell, leases: Path, device: str, processes: int
) -> None:
    with shared_gpus(device, processes, "study", SilentProgress()) as gpus:
        assert not gpus and not leases.exists()


def test_a_task_gets_the_shared_gpu_with_the_fewest_tasks(cell: Cell, leases: Path) -> None:
    running: list[Future[TaskOutcome]] = []

    class Executor(ThreadPoolExecutor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            began.append(gpus.index(args[-1][0]))
            running.append(Future())
            return running[-1]

    began: list[int] = []
    with shared_gpus("cuda", 16, "study", SilentProgress()) as gpus, Executor(1) as executor:
        shared = SharedGpus(gpus)
        for _ in range(4):
            shared.submit(executor, lambda gpus: TaskOutcome(""))
        for finished in (running[1], running[3]):  # both on the second GPU
            finished.set_result(TaskOutcome(""))
        for _ in range(3):
            shared.submit(executor, lambda gpus: TaskOutcome(""))
    assert began == [0, 1, 0, 1, 1, 1, 0]


def test_a_hit_waits_for_nobody(start: Start, cell: Cell, leases: Path, tmp_path: Path) -> None:
    stage = make_stage("model", 1, nothing)
    made(stage, cell, tmp_path / "store")
    (holder,) = start("0,1")
    assert holder.ask("hold cuda 2") == "held cuda:0,1"
    assert made(stage, cell, tmp_path / "store").hit


def test_which_gpu_it_was_is_no_part_of_the_identity(cell: Cell, tmp_path: Path) -> None:
    from faq_pipeline.models.device import compute_identity

    def stage(device: str) -> tuple[Outcome, dict[str, object]]:
        one = make_cell(tmp_path / "cell", device)
        identity = compute_identity(one.target.member, device)
        return made(make_stage("model", 1, nothing), one, tmp_path / device), identity

    (first, its), (second, other) = stage("cuda:0"), stage("cuda:1")
    assert first.artifact.metadata["device"] == "cuda:0" and second.artifact.metadata["device"] == "cuda:1"
    assert first.artifact.fingerprint == second.artifact.fingerprint
    assert its == other == {"device": "cuda:Fake", "threads": None}


def test_memory_is_freed_before_the_gpu_is_given_back_after_a_failure_too(
    cell: Cell, leases: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Model: ...

    models: list[weakref.ref[Model]] = []
    freed: list[bool] = []

    def release() -> None:
        gc.collect()
        freed.append(models[-1]() is None and is_held(leases, 0))

    def build(job: Build) -> None:
        model = Model()
        models.append(weakref.ref(model))
        if job.cell.recipe.draw:
            try:
                raise RuntimeError("out of memory")
            except RuntimeError as error:
                raise FaqError("it does not fit") from error

    monkeypatch.setattr("faq_pipeline.gpu.placement.release", release)
    stage = make_stage("model", 1, build)
    made(stage, cell, tmp_path / "store")
    with pytest.raises(FaqError, match="it does not fit"):
        made(stage, cell.with_recipe(cell.recipe.model_copy(update={"draw": 1})), tmp_path / "store")
    assert freed == [True, True]
    assert not is_held(leases, 0)


def test_waiting_for_a_gpu_is_no_part_of_what_a_stage_takes(
    start: Start, cell: Cell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The clock is ours: it stands still but for the hour that another holds the GPUs."""
    (holder,) = start("0,1")
    assert holder.ask("hold cuda 2") == "held cuda:0,1"
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    class Listener(SilentProgress):
        def note(self, message: str) -> None:
            assert message.startswith("waits for GPU 0 ")
            clock[0] += 3600
            assert holder.ask("give back") == "given back"

    stage = make_stage("model", 1, nothing)
    outcome = materialize("model", cell, {"model": stage}, Store(tmp_path / "store"), Listener())
    assert outcome.artifact.manifest.seconds == 0 and outcome.seconds == 3600


def test_the_folder_is_for_all_users_whatever_the_umask(cell: Cell, leases: Path) -> None:
    before = os.umask(0o077)
    try:
        with GpuPlacement(make_stage("model", 1, nothing), cell, SilentProgress()):
            modes = {path.suffix: stat.S_IMODE(path.stat().st_mode) for path in leases.iterdir()}
    finally:
        os.umask(before)
    assert stat.S_IMODE(leases.stat().st_mode) == 0o1777
    assert modes == dict.fromkeys((".lock", ".next", ".json"), 0o666)


@pytest.mark.parametrize("left", [b"", b"{", b'{"pid": 1}', b"\xff"], ids=repr)
def test_a_broken_note_of_a_holder_stops_nobody(cell: Cell, leases: Path, left: bytes) -> None:
    leases.mkdir()
    (leases / f"{make_gpus('Fake')[0].uuid}.json").write_bytes(left)
    with GpuPlacement(make_stage("model", 1, nothing), cell, SilentProgress()) as placed:
        assert placed.cell.device == "cuda:0"


def test_a_folder_that_cannot_be(cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    for place, says in (
        ("file", "the folder for GPU leases is a file"),
        ("file/leases", "can be made: Not a"),
    ):
        monkeypatch.setenv("FAQ_LEASES", str(tmp_path / place))
        with pytest.raises(FaqError, match=says) as error:
            GpuPlacement(make_stage("model", 1, nothing), cell, SilentProgress()).__enter__()
        assert "set FAQ_LEASES" in error.value.hint


ANOTHER_USER = """
import os, sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from faq_pipeline.errors import FaqError
from faq_pipeline.gpu.placement import GpuPlacement
from faq_pipeline.models import gpus
from faq_pipeline.util.progress import SilentProgress
from tests.gpu.fakes import make_cell, make_gpus, make_stage

gpus.installed_gpus = lambda: make_gpus("Fake")
cell = make_cell(Path(sys.argv[1]), "cuda")
if os.getuid() == 0:
    os.setuid(65534)
try:
    with GpuPlacement(make_stage("model", 1, lambda job: None), cell, SilentProgress()):
        print("held")
except FaqError as error:
    print(error)
"""


def as_another_user(leases: Path) -> str:
    """What a process without rights of its own on the folder says; of another user, if we are root."""
    done = subprocess.run(
        [sys.executable, "-c", ANOTHER_USER, str(leases.parent / "cell")],
        env={**os.environ, "FAQ_LEASES": str(leases), "CUDA_VISIBLE_DEVICES": "0"},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout.strip()


def open_way(folder: Path) -> None:
    """Let other users pass through pytest's own folders."""
    for parent in folder.parents:
        if parent.owner() == folder.owner() and parent.stat().st_mode & 0o777 == 0o700:
            parent.chmod(0o711)


def test_a_folder_or_lock_that_others_made_for_themselves(leases: Path) -> None:
    leases.mkdir()
    open_way(leases)
    leases.chmod(0o555)
    said = as_another_user(leases)
    assert said.startswith(f"{leases}: GPU leases cannot be taken: this belongs to {leases.owner()}, and")
    assert "chmod 1777 it, or set FAQ_LEASES" in said
    leases.chmod(0o1777)
    lock = leases / f"{make_gpus('Fake')[0].uuid}.lock"
    lock.touch(mode=0o444)
    assert as_another_user(leases).startswith(f"{lock}: GPU leases cannot be taken: this belongs to")
    lock.unlink()
    assert as_another_user(leases) == "held"


def test_users_follow_each_other_on_a_gpu(cell: Cell, leases: Path) -> None:
    """The files of whoever came first serve the next user, and the first again."""
    stage = make_stage("model", 1, nothing)
    with GpuPlacement(stage, cell, SilentProgress()):
        pass
    open_way(leases)
    assert as_another_user(leases) == "held"
    with GpuPlacement(stage, cell, SilentProgress()) as placed:
        assert placed.cell.device == "cuda:0"
