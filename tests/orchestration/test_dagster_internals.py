"""Each private part of Dagster that the package uses still does what it is used for."""

import ast
import inspect
import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.events import RunFailureReason
from dagster._core.execution.retries import auto_reexecution_should_retry_run
from dagster._core.storage import sql
from dagster._core.test_utils import create_run_for_test
from dagster._daemon.monitoring import run_monitoring as monitoring

import faq_pipeline
from faq_pipeline.orchestration.dagster_internals import run_health
from faq_pipeline.orchestration.dagster_internals.pool_slots import (
    MOST_BETWEEN_CLAIMS,
    SlotClaims,
    install_slot_claims,
    without_slots,
)
from faq_pipeline.orchestration.dagster_internals.run_execution import without_compute_logs
from faq_pipeline.orchestration.dagster_internals.run_health import (
    GRPC_INFO_TAG,
    CheckRunHealthResult,
    WorkerStatus,
    code_server_has_run,
)
from faq_pipeline.orchestration.dagster_internals.run_records import (
    NOT_RETRIED,
    is_retry_undecided,
    of_code_location,
)
from faq_pipeline.orchestration.dagster_internals.schedule_time import CheckError
from faq_pipeline.orchestration.dagster_internals.sqlite_engines import MOST_ENGINES, reuse_sqlite_engines
from faq_pipeline.orchestration.executor import cache_aware_executor
from tests.services import free_port

POOL = "gpu"
PACKAGE = Path(faq_pipeline.__file__).parent


@dg.op(pool=POOL)
def says_where(context: dg.OpExecutionContext) -> None:
    """A stage that needs the pool, and prints."""
    print("printed by the step")
    context.log.info(f"in {os.getpid()}")


@dg.job(
    executor_def=cache_aware_executor({"start_method": {"spawn": {}}}, lambda run: frozenset({"says_where"}))
)
def cached() -> None:
    says_where()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[DagsterInstance]:
    reuse_sqlite_engines()
    overrides = {"concurrency": {"pools": {"granularity": "op", "default_limit": 1}}}
    with dg.instance_for_test(temp_dir=str(tmp_path), overrides=overrides) as instance:
        yield instance


@pytest.fixture
def taken(instance: DagsterInstance) -> DagsterInstance:
    """The instance while another run has the pool's only slot."""
    other = create_run_for_test(instance, status=DagsterRunStatus.STARTED)
    instance.event_log_storage.initialize_concurrency_limit_to_default(POOL)
    assert instance.event_log_storage.claim_concurrency_slot(POOL, other.run_id, "its_step").is_claimed
    return instance


def open_files(name: str) -> list[Path]:
    """Files of that name which this process has open."""
    links = list(Path("/proc/self/fd").iterdir())
    return [target for link in links if link.exists() and (target := link.readlink()).name == name]


def test_no_other_module_imports_privates_of_dagster() -> None:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if any(name.startswith(("dagster._", "dagster_shared")) for name in names):
                found.add(path.relative_to(PACKAGE).parent.as_posix())
    assert found == {"orchestration/dagster_internals"}


def test_a_refused_claim_is_tried_again_soon(taken: DagsterInstance) -> None:
    claims = SlotClaims(taken, create_run_for_test(taken))
    with claims:
        for _ in range(30):  # Dagster waits longer after each
            assert not claims.claim(POOL, "step")
            claims._pending_timeouts["step"] = 0.0
        assert not claims.claim(POOL, "step")
        assert 0 < claims.interval_to_next_pending_claim_check() + MOST_BETWEEN_CLAIMS <= MOST_BETWEEN_CLAIMS
        assert claims.has_pending_claims()


def test_a_step_that_needs_no_slot_claims_none(taken: DagsterInstance) -> None:
    run = create_run_for_test(taken)
    with SlotClaims(taken, run) as claims:
        with without_slots(run.run_id, frozenset({"step"})):
            assert claims.claim(POOL, "step") and not claims.has_pending_claims()
            assert not claims.claim(POOL, "other")
        assert not claims.claim(POOL, "step")


def test_both_executors_claim_through_the_replaced_class(taken: DagsterInstance) -> None:
    install_slot_claims()
    in_process = dg.GraphDefinition(name="one", node_defs=[says_where]).to_job()
    with without_slots("0" * 32, frozenset({"says_where"})):
        done = in_process.execute_in_process(instance=taken, run_id="0" * 32)
    assert done.success  # in the multiprocess executor: test_executor.py


def test_a_run_whose_steps_are_all_cached_takes_no_slot_no_process_and_no_log_capture(
    taken: DagsterInstance,
) -> None:
    with dg.execute_job(dg.reconstructable(cached), instance=taken) as done:
        assert done.success
        run = done.run_id
    told = [entry.user_message for entry in taken.all_logs(run)]
    assert f"in {os.getpid()}" in told
    assert not list(Path(taken.storage_directory()).rglob("*.out"))


def test_without_compute_logs_is_over_after_the_block(instance: DagsterInstance) -> None:
    before = instance.compute_log_manager
    with without_compute_logs(instance):
        assert type(instance.compute_log_manager).__name__ == "NoOpComputeLogManager"
    assert instance.compute_log_manager is before


def test_a_run_of_a_code_location_has_its_label_and_is_not_retried(instance: DagsterInstance) -> None:
    """The UI's Timeline reads the origin, its page of a job the label."""
    job = dg.GraphDefinition(name="one", node_defs=[says_where]).to_job()
    with of_code_location(instance, "there", "one"):
        run = job.execute_in_process(instance=instance, tags=NOT_RETRIED).dagster_run
    label = {".dagster/repository": "__repository__@there"}
    (found,) = instance.get_runs(filters=dg.RunsFilter(tags=label))
    assert found.run_id == run.run_id
    origin = found.remote_job_origin
    assert origin is not None and (origin.location_name, origin.job_name) == ("there", "one")
    assert not auto_reexecution_should_retry_run(
        instance, found.with_status(DagsterRunStatus.FAILURE), RunFailureReason.UNKNOWN
    )
    assert job.execute_in_process(instance=instance).dagster_run.remote_job_origin is None


def test_databases_stay_open_and_only_so_many(instance: DagsterInstance) -> None:
    runs = [create_run_for_test(instance) for _ in range(MOST_ENGINES + 2)]
    for run in runs:
        for _ in range(2):  # the first one makes the database
            instance.report_engine_event("begun", run)
    assert open_files("index.db") and open_files(f"{runs[-1].run_id}.db")
    assert not open_files(f"{runs[0].run_id}.db")
    assert [entry.message for entry in instance.all_logs(runs[0].run_id)]


def test_a_database_that_was_made_anew_is_opened_anew(tmp_path: Path) -> None:
    reuse_sqlite_engines()
    for number in range(2):
        with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
            assert instance.get_runs_count() == 0
            create_run_for_test(instance)
        (tmp_path / "history").rename(tmp_path / f"history-{number}")


def test_migrations_are_read_once(instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sql.ScriptDirectory is command.ScriptDirectory is not ScriptDirectory
    instance.report_engine_event("begun", create_run_for_test(instance))
    read: list[object] = []
    monkeypatch.setattr(ScriptDirectory, "_load_revisions", lambda self: read.append(self) or iter(()))
    instance.report_engine_event("begun", create_run_for_test(instance))
    assert not read


def test_an_evaluation_at_no_scheduled_time_is_a_check_error() -> None:
    with dg.build_schedule_context() as context, pytest.raises(CheckError):
        _ = context.scheduled_execution_time


def test_a_code_server_that_does_not_answer_may_have_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_health, "SECONDS_TO_ANSWER", 1)
    assert code_server_has_run({"host": "localhost", "port": free_port()}, "a-run")


def test_the_default_launcher_marks_a_run_with_its_code_server() -> None:
    source = inspect.getsource(inspect.getmodule(dg.DefaultRunLauncher) or dg)
    assert "GRPC_INFO_TAG" in source and GRPC_INFO_TAG == ".dagster/grpc_info"


def test_run_monitoring_asks_the_launcher_for_a_health_of_this_type() -> None:
    asks = inspect.getsource(monitoring)
    assert "check_run_worker_health" in asks and "WorkerStatus.RUNNING" in asks
    assert monitoring.WorkerStatus is WorkerStatus
    assert CheckRunHealthResult(WorkerStatus.NOT_FOUND, "gone").msg == "gone"


def test_a_failed_run_is_told_later_whether_it_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    @dg.op
    def nothing() -> None: ...

    @dg.job
    def job() -> None:
        nothing()

    retries = {"run_retries": {"enabled": True, "max_retries": 1}}
    with DagsterInstance.ephemeral(settings=retries) as instance:
        run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
        between: list[dg.DagsterRun | None] = []
        tag = instance.add_run_tags

        def and_look(run_id: str, tags: dict[str, str]) -> None:
            between.append(instance.get_run_by_id(run_id))
            tag(run_id, tags)

        monkeypatch.setattr(instance, "add_run_tags", and_look)
        instance.report_run_failed(run)
        (seen,), told = between, instance.get_run_by_id(run.run_id)
        assert (
            seen is not None
            and told is not None
            and seen.status is told.status is dg.DagsterRunStatus.FAILURE
        )
        assert is_retry_undecided(instance, seen) and not seen.is_complete_and_waiting_to_retry
        assert not is_retry_undecided(instance, told) and told.is_complete_and_waiting_to_retry
    with DagsterInstance.ephemeral() as without:
        assert not is_retry_undecided(without, seen)
