"""What a run does while another has the pool's only slot, with Dagster's executor and storage."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.test_utils import create_run_for_test

from faq_pipeline.orchestration.dagster_internals.pool_slots import MOST_BETWEEN_CLAIMS
from faq_pipeline.orchestration.executor import cache_aware_executor
from faq_pipeline.settings import REPOSITORY

POOL = "gpu"


@dg.op(pool=POOL)
def computes() -> None:
    """A stage that needs the pool."""


@dg.job(executor_def=cache_aware_executor({"start_method": {"spawn": {}}}))
def waits() -> None:
    computes()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[DagsterInstance]:
    overrides = {"concurrency": {"pools": {"granularity": "op", "default_limit": 1}}}
    with dg.instance_for_test(temp_dir=str(tmp_path), overrides=overrides) as instance:
        yield instance


def test_a_run_that_waits_for_the_pool_takes_no_core_and_soon_sees_that_it_is_free(
    instance: DagsterInstance,
) -> None:
    storage = instance.event_log_storage
    other = create_run_for_test(instance, status=DagsterRunStatus.STARTED)
    storage.initialize_concurrency_limit_to_default(POOL)
    assert storage.claim_concurrency_slot(POOL, other.run_id, "its_step").is_claimed

    results: list[bool] = []

    def run() -> None:
        with dg.execute_job(dg.reconstructable(waits), instance=instance) as done:
            results.append(done.success)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def waiting() -> bool:
        return bool(storage.get_concurrency_info(POOL).pending_step_count)

    while not waiting():
        time.sleep(0.1)
    process = psutil.Process()
    shares = [process.cpu_percent(interval=1.0) for _ in range(5)][1:]
    assert min(shares) < 50  # of one core; without a pause it is all of one
    storage.free_concurrency_slots_for_run(other.run_id)
    freed = time.monotonic()
    while waiting():
        time.sleep(0.05)
    assert time.monotonic() - freed < 5 * MOST_BETWEEN_CLAIMS
    thread.join()
    assert results == [True]


PRELOADS = """
import sys
from importlib import import_module, reload
from faq_pipeline.models import gpus
from tests.gpu.fakes import make_gpus

libraries = {"torch", "transformers", "llmcompressor", "lm_eval"}
gpus.installed_gpus = lambda: make_gpus("Fake")
preload = import_module("faq_pipeline.orchestration.preload")
print(sorted(libraries & sys.modules.keys()))
gpus.installed_gpus = tuple
reload(preload)
print(sorted(libraries - sys.modules.keys()), sys.modules["torch"].cuda.is_initialized())
"""


@pytest.mark.slow
def test_step_processes_are_forked_with_the_model_libraries_only_where_there_is_no_gpu() -> None:
    """One that asked for a GPU could not be used in a fork."""
    done = subprocess.run(
        [sys.executable, "-c", PRELOADS], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]  # libraries print too
    assert lines == ["[]", "[] False"], done.stderr
