"""The graph under Dagster itself: its runs, its processes, its sensor, its backfills.

One home serves the module. It is filled once, in this process; what follows finds everything made.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.test_utils import create_run_for_test

from faq_pipeline.core.cell import Cell
from faq_pipeline.core.resolver import resolve_cell
from faq_pipeline.core.stage import Stage
from faq_pipeline.definitions import build_defs
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.orchestration.partitions import register_cells
from faq_pipeline.orchestration.runs import open_instance
from faq_pipeline.orchestration.tags import GPU_POOL
from faq_pipeline.settings import REPOSITORY, Settings
from tests.orchestration.cli import Faq, FaqHere

Materializations = dict[str, dg.AssetMaterialization]


@pytest.fixture(scope="module")
def tiny_faq(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faq]:
    """`faq` in a home of its own; this process has its environment too."""
    faq = Faq(home=tmp_path_factory.mktemp("dagster") / "home", data=tiny_data)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DAGSTER_HOME", raising=False)
        for name in ("FAQ_HOME", "FAQ_DATA", "FAQ_DEVICE"):
            patch.setenv(name, faq.environment[name])
        # Dagster reads its home from here, as `open_instance` sets it.
        patch.setenv("DAGSTER_HOME", str(Settings.from_environment().dagster_home()))
        yield faq


@pytest.fixture(scope="module")
def settings(tiny_faq: Faq) -> Settings:
    return Settings.from_environment()


@pytest.fixture(scope="module")
def instance(settings: Settings) -> Iterator[DagsterInstance]:
    with open_instance(settings) as instance:
        yield instance


@pytest.fixture(scope="module")
def partition(settings: Settings, instance: DagsterInstance) -> str:
    """The cell tiny-s x tiny-faq, its member registered."""
    recipe = settings.catalog.recipe("tiny-faq")
    cell = resolve_cell(settings.catalog, "tiny-s", recipe, "cpu", settings.digests)
    register_cells(instance, [cell.partition])
    return cell.partition


@pytest.fixture(scope="module")
def first(instance: DagsterInstance, partition: str) -> Materializations:
    return materialize(instance, partition)


def materialize(instance: DagsterInstance, partition: str) -> Materializations:
    """The job `quantize` in this process, with the default resources."""
    job = build_defs().resolve_job_def("quantize")
    result = job.execute_in_process(instance=instance, partition_key=partition)
    assert result.success
    events = result.get_asset_materialization_events()
    return {e.materialization.asset_key.to_user_string(): e.materialization for e in events}


def versions(made: Materializations) -> dict[str, str]:
    return {name: (one.tags or {})["dagster/data_version"] for name, one in made.items()}


def caches(made: Materializations) -> set[Any]:
    return {one.metadata["cache"].value for one in made.values()}


@pytest.mark.slow
def test_a_second_materialization_emits_the_same_data_versions_and_hits(
    instance: DagsterInstance, partition: str, first: Materializations
) -> None:
    assert set(first) == set(STAGES) and caches(first) == {"miss"}
    second = materialize(instance, partition)
    assert versions(second) == versions(first) and caches(second) == {"hit"}
    for name, made in first.items():
        assert versions(first)[name] == made.metadata["digest"].value
        shown, again = set(made.metadata), set(second[name].metadata)
        assert shown == again  # a hit shows everything that a miss shows


@pytest.mark.slow
def test_the_ui_shows_the_plot_in_place_and_every_candidate_beside_the_winner(
    first: Materializations,
) -> None:
    plot = str(first["eval_report"].metadata.get("recovery_plot", dg.MetadataValue.md("")).value)
    assert len(plot) < 1000  # the UI hides longer Markdown behind a link
    group = str(first["competition_scores"].metadata["winners_beside_losers"].value)
    assert group.count(", question: Mira has ") == 2 and group.count(", text: The river town ") == 2
    # Random weights answer wrongly: a question with no right candidate has a first place and no winner.
    assert group.count("| winner |") >= 2 and "| length |" in group
    assert group.count("| winner |") + group.count("| 1 |") == group.count("| 2 |") == 4


@pytest.mark.slow
def test_a_cached_run_resolves_its_cell_once_and_computes_each_identity_once(
    instance: DagsterInstance,
    partition: str,
    first: Materializations,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    identities: Counter[str] = Counter()
    cells: list[str] = []

    def counting(stage: Stage) -> Stage:
        def identity(cell: Cell) -> dict[str, Any]:
            identities[stage.name] += 1
            return stage.identity(cell)

        return replace(stage, identity=identity)

    def resolving(*args: Any) -> Cell:
        cells.append(args[1])
        return resolve_cell(*args)

    for name, stage in STAGES.items():
        monkeypatch.setitem(STAGES, name, counting(stage))
    monkeypatch.setattr("faq_pipeline.execution.cell_resolver.resolve_cell", resolving)
    assert caches(materialize(instance, partition)) == {"hit"}
    assert len(cells) == 1 and identities == dict.fromkeys(STAGES, 1)


@pytest.mark.slow
def test_nothing_in_a_run_or_a_tick_reads_the_settings_of_the_environment(
    instance: DagsterInstance, partition: str, first: Materializations, monkeypatch: pytest.MonkeyPatch
) -> None:
    definitions = build_defs()
    monkeypatch.setattr(Settings, "from_environment", lambda: pytest.fail("asked the environment"))
    job = definitions.resolve_job_def("quantize")
    assert job.execute_in_process(instance=instance, partition_key=partition).success
    for name in ("register_members", "report_staleness"):
        definitions.resolve_sensor_def(name)(dg.build_sensor_context(instance=instance))


@pytest.mark.slow
def test_a_cached_run_waits_for_no_slot_and_starts_no_process(
    tiny_faq: Faq, instance: DagsterInstance, partition: str, first: Materializations
) -> None:
    with pool_taken(instance):
        run = dagster_materialize(tiny_faq, instance, partition)
    assert versions(run.made) == versions(first) and caches(run.made) == {"hit"}
    assert any("Executing steps in process" in line for line in run.told)


@pytest.mark.slow
def test_step_processes_hit_what_was_made_in_process(
    tiny_faq: Faq, settings: Settings, instance: DagsterInstance, partition: str, first: Materializations
) -> None:
    report = settings.store.get("eval_report", str(first["eval_report"].metadata["fingerprint"].value))
    assert report is not None
    settings.store.remove(report)
    run = dagster_materialize(tiny_faq, instance, partition)
    assert versions(run.made) == versions(first)
    missed = [name for name, one in run.made.items() if one.metadata["cache"].value == "miss"]
    assert missed == ["eval_report"]
    assert any("multiprocess executor" in line for line in run.told)


@dataclass(frozen=True)
class ProcessRun:
    """A run of Dagster's own command: its materializations, and its log."""

    made: Materializations
    told: list[str]


@contextmanager
def pool_taken(instance: DagsterInstance) -> Iterator[None]:
    """Another run has the only slot of the pool of GPU stages."""
    other = create_run_for_test(instance, status=DagsterRunStatus.STARTED)
    storage = instance.event_log_storage
    storage.initialize_concurrency_limit_to_default(GPU_POOL)
    assert storage.claim_concurrency_slot(GPU_POOL, other.run_id, "its_step").is_claimed
    try:
        yield
    finally:
        instance.report_run_canceled(other)
        storage.free_concurrency_slots_for_run(other.run_id)


def dagster_materialize(faq: Faq, instance: DagsterInstance, partition: str) -> ProcessRun:
    """The README's command: Dagster's own executor, with the definitions' default resources."""
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "faq_pipeline.definitions"]
    done = subprocess.run(
        [*command, "--select", "*eval_report", "--partition", partition],
        env={**faq.environment, "DAGSTER_HOME": os.environ["DAGSTER_HOME"]},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (run,) = instance.get_runs(filters=RunsFilter(job_name="__ASSET_JOB"), limit=1)
    assert run.status == DagsterRunStatus.SUCCESS
    events = [event.dagster_event for event in instance.all_logs(run.run_id)]
    made = [e.step_materialization_data.materialization for e in events if e and e.is_step_materialization]
    told = [event.message or "" for event in events if event]
    return ProcessRun({one.asset_key.to_user_string(): one for one in made}, told)


@pytest.mark.slow
def test_a_backfill_is_queued_for_the_daemon(
    tiny_faq: Faq, instance: DagsterInstance, partition: str
) -> None:
    queued = FaqHere(tiny_faq.home, tiny_faq.data).json(
        "backfill", "--members", "tiny-s", "--recipes", "tiny-faq"
    )
    assert queued["partitions"] == [partition]
    backfill = instance.get_backfill(queued["backfill"])
    assert backfill is not None and backfill.is_asset_backfill
    assert {key.to_user_string() for key in backfill.asset_selection or []} == set(STAGES)


@pytest.mark.parametrize(
    ("device", "says"),
    [("cuda:7", "no CUDA device answers here"), ("tpu", "unknown device 'tpu'")],
)
def test_a_run_chooses_its_device_in_the_launchpad(
    instance: DagsterInstance, partition: str, monkeypatch: pytest.MonkeyPatch, device: str, says: str
) -> None:
    monkeypatch.setattr("faq_pipeline.models.gpus.installed_gpus", lambda: ())
    result = (
        build_defs()
        .resolve_job_def("quantize")
        .execute_in_process(
            instance=instance,
            partition_key=partition,
            run_config={"resources": {"pipeline": {"config": {"device": device}}}},
            raise_on_error=False,
        )
    )
    failures = [
        event.step_failure_data.user_failure_data for event in result.all_events if event.is_step_failure
    ]
    assert failures and all(one is not None and says in str(one.description) for one in failures)
