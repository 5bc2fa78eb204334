"""How a backfill is told to stand, from real runs in an instance."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.test_utils import create_run_for_test
from dagster._daemon.types import DaemonHeartbeat

from faq_pipeline.orchestration.backfill_state import (
    DAEMONS,
    BackfillState,
    CellProgress,
    CellRun,
    daemon_silence,
    read_backfill,
)

ID = "abcdefgh"


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as instance:
        yield instance


def backfill(
    instance: DagsterInstance, *partitions: str, status: BulkActionStatus = BulkActionStatus.REQUESTED
) -> None:
    instance.add_backfill(
        PartitionBackfill(ID, status, False, {}, time.time(), partition_names=list(partitions))
    )


def tags(partition: str) -> dict[str, str]:
    return {"dagster/backfill": ID, "dagster/partition": partition}


def run(instance: DagsterInstance, partition: str, *assets: Any) -> None:
    dg.materialize(list(assets), instance=instance, tags=tags(partition), raise_on_error=False)


def cell(state: BackfillState, partition: str) -> CellRun:
    return next(one for one in state.cells if one.partition == partition)


def cached(name: str, cache: str) -> dg.AssetsDefinition:
    @dg.asset(name=name)
    def made() -> dg.MaterializeResult:
        return dg.MaterializeResult(metadata={"cache": cache})

    return made


@dg.asset
def mistaken() -> None:
    raise dg.Failure(description="a seed has no text (give it one)")


@dg.asset
def broken() -> None:
    raise ValueError("no such thing")


@dg.asset(check_specs=[dg.AssetCheckSpec("contamination", asset="refused", blocking=True)])
def refused() -> dg.MaterializeResult:
    return dg.MaterializeResult(
        check_results=[dg.AssetCheckResult(passed=False, metadata={"questions": "4"})]
    )


def test_cells_that_ended_say_how(instance: DagsterInstance) -> None:
    backfill(instance, "a|x", "b|x", "c|x", "d|x")
    run(instance, "a|x", cached("one", "miss"), cached("two", "hit"), cached("three", "miss"))
    run(instance, "b|x", mistaken)
    run(instance, "c|x", broken)
    run(instance, "d|x", refused)
    state = read_backfill(instance, ID)
    # The daemon has not looked yet: nothing is left to wait for.
    assert state.over and state.status == "requested" and not state.complete
    assert cell(state, "a|x").standing is CellProgress.DONE and cell(state, "a|x").made == 2
    assert [state.count(one) for one in (CellProgress.DONE, CellProgress.FAILED)] == [1, 3]
    assert cell(state, "b|x").reason == "a seed has no text (give it one)"
    assert cell(state, "c|x").reason == "broken failed: ValueError: no such thing"
    assert cell(state, "d|x").reason.startswith("check contamination of refused failed: questions: 4")
    assert all(one.seconds is not None and one.run for one in state.cells)


def test_what_has_not_ended(instance: DagsterInstance) -> None:
    backfill(instance, "a|x", "b|x", "c|x")
    create_run_for_test(instance, status=DagsterRunStatus.STARTING, tags=tags("b|x"))
    create_run_for_test(instance, status=DagsterRunStatus.STARTED, tags=tags("c|x"))
    state = read_backfill(instance, ID)
    assert [one.standing for one in state.cells] == [
        CellProgress.WAITING,
        CellProgress.QUEUED,
        CellProgress.RUNNING,
    ]
    assert not state.over and not state.complete


def test_a_run_that_died_and_will_be_run_again_has_not_failed(instance: DagsterInstance) -> None:
    backfill(instance, "a|x")
    died = create_run_for_test(
        instance, status=DagsterRunStatus.FAILURE, tags={**tags("a|x"), "dagster/will_retry": "true"}
    )
    state = read_backfill(instance, ID)
    assert cell(state, "a|x").standing is CellProgress.QUEUED and not state.over
    instance.add_run_tags(died.run_id, {"dagster/auto_retry_run_id": "again"})
    run(instance, "a|x", cached("one", "miss"))
    state = read_backfill(instance, ID, state)
    assert cell(state, "a|x").standing is CellProgress.DONE and cell(state, "a|x").run != died.run_id
    assert state.over and state.complete


def test_a_backfill_that_counts_as_ended_is_not_over_while_a_run_is_run_again(
    instance: DagsterInstance,
) -> None:
    """As a job's backfill, whose runs Dagster counts before its daemon has started them again."""
    backfill(instance, "a|x", "b|x", status=BulkActionStatus.COMPLETED_FAILED)
    died = create_run_for_test(
        instance, status=DagsterRunStatus.FAILURE, tags={**tags("a|x"), "dagster/will_retry": "true"}
    )
    state = read_backfill(instance, ID)
    assert [one.standing for one in state.cells] == [
        CellProgress.QUEUED,
        CellProgress.WAITING,
    ] and not state.over
    instance.add_run_tags(died.run_id, {"dagster/auto_retry_run_id": "again"})
    create_run_for_test(instance, status=DagsterRunStatus.STARTED, tags=tags("a|x"))
    assert not read_backfill(instance, ID).over
    run(instance, "a|x", cached("one", "miss"))
    state = read_backfill(instance, ID)
    assert state.over and cell(state, "a|x").standing is CellProgress.DONE


def test_a_backfill_that_was_canceled_runs_nothing_again(instance: DagsterInstance) -> None:
    backfill(instance, "a|x", "b|x", status=BulkActionStatus.CANCELED)
    create_run_for_test(
        instance, status=DagsterRunStatus.FAILURE, tags={**tags("a|x"), "dagster/will_retry": "true"}
    )
    state = read_backfill(instance, ID)
    assert state.over and state.status == "canceled" and not state.complete
    assert [one.standing for one in state.cells] == [CellProgress.FAILED, CellProgress.WAITING]


def test_a_cell_that_is_run_again_by_hand_counts_anew(instance: DagsterInstance) -> None:
    backfill(instance, "a|x", "b|x")
    run(instance, "a|x", broken)
    first = read_backfill(instance, ID)
    assert cell(first, "a|x").standing is CellProgress.FAILED
    run(instance, "a|x", cached("one", "miss"))
    assert cell(read_backfill(instance, ID, first), "a|x").standing is CellProgress.DONE


def test_a_daemon_is_silent_as_soon_as_one_of_its_parts_is(instance: DagsterInstance) -> None:
    def beat(name: str, ago: float) -> None:
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - ago, name, None, None))

    assert daemon_silence(instance) == float("inf")
    beat(DAEMONS[0], 0)
    assert daemon_silence(instance) == float("inf")
    beat(DAEMONS[1], 10)
    assert daemon_silence(instance) is None
    beat(DAEMONS[0], 1000)
    silent = daemon_silence(instance)
    assert silent is not None and silent >= 1000
