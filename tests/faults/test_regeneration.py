"""Regeneration under kills, a full disk and a failing server: nothing is lost, doubled or paid twice."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from faq_pipeline.errors import FaqError
from faq_pipeline.settings import REPOSITORY
from faq_pipeline.store.records import Candidate, Failed
from faq_pipeline.store.store import Store
from faq_pipeline.store.tables import read_rows
from tests.faults.regenerating import regenerate
from tests.faults.table import FaultTable
from tests.inference.fake_server import Asked, FakeServer, Fault

SEEDS, CANDIDATES = 12, 4
ANSWERS = SEEDS * CANDIDATES
MOMENTS, IN_CI = 20, 3
RECIPE = """\
name: tiny-endpoint
extends: tiny-faq
title: FAQ from an endpoint
seeds: {{count: {seeds}}}
regeneration: {{candidates: {candidates}, engine: endpoint, endpoint: {{base_urls: ["{url}"]}}}}
"""
BATCHED = """\
name: tiny-batched
extends: tiny-faq
title: FAQ in small batches
seeds: {count: 12}
regeneration: {candidates: 4, batch_size: 4}
"""


@dataclass(frozen=True)
class Bench:
    """A data folder, a store, and the process that regenerates."""

    data: Path
    store: Path
    recipe: str = "tiny-endpoint"

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.faults.regenerating", self.data, self.store, self.recipe],
            cwd=REPOSITORY,
            env={**os.environ, "OMP_NUM_THREADS": "1", "FAQ_HOME": str(self.store.parent)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self) -> str:
        """The corpus's digest; in this process, which nobody kills."""
        return regenerate(self.data, Store(self.store), self.recipe)

    @property
    def bytes_repeat(self) -> bool:
        """What the corpus says of its engine."""
        (corpus,) = Store(self.store).artifacts("regenerated_corpus")
        return bool(corpus.metadata["bytes_repeat"])

    @property
    def recorded(self) -> int:
        """Whole lines in the ledger."""
        return sum(p.read_bytes().count(b"\n") for p in self.store.glob(".ledgers/*/*.jsonl"))

    def kill_at(self, lines: int) -> None:
        """Kill its whole group once so many samples are recorded."""
        process = self.start()
        deadline = time.monotonic() + 120
        while self.recorded < lines:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    @property
    def candidates(self) -> dict[tuple[str, int], Candidate]:
        (path,) = self.store.glob("regenerated_corpus/*/candidates.parquet")
        rows = read_rows(path, Candidate)
        assert len(rows) == len({(row.seed_id, row.position) for row in rows}) == ANSWERS
        return {(row.seed_id, row.position): row for row in rows}

    @property
    def failed(self) -> list[Failed]:
        (path,) = self.store.glob("regenerated_corpus/*/failed.parquet")
        return read_rows(path, Failed)


@contextmanager
def staggered() -> Iterator[FakeServer]:
    """A server whose answers come one after the other, 30 ms apart."""
    with FakeServer() as server:
        order: dict[tuple[object, int | None], int] = {}

        def later(asked: Asked) -> Fault:
            place = order.setdefault((asked.prompt, asked.seed), len(order))
            return Fault("slow", 0.03 * (place % ANSWERS) if asked.call == 1 else 0.05)

        server.fault = later
        yield server


def bench(server: FakeServer, tiny_data: Path, folder: Path) -> Bench:
    data = Path(shutil.copytree(tiny_data, folder / "data", dirs_exist_ok=True))
    text = RECIPE.format(seeds=SEEDS, candidates=CANDIDATES, url=server.url)
    (data / "recipes/tiny-endpoint.yaml").write_text(text)
    (data / "recipes/tiny-batched.yaml").write_text(BATCHED)
    return Bench(data, folder / "home/store")


def moments() -> list[int]:
    """Numbers of recorded samples at which a run is killed, spread over all of it."""
    spread = [1 + i * (ANSWERS - 2) // (MOMENTS - 1) for i in range(MOMENTS)]
    random.Random(7).shuffle(spread)
    return spread if os.environ.get("FAQ_ALL_MOMENTS") else spread[:IN_CI]


@pytest.mark.slow
@pytest.mark.parametrize("moment", moments())
def test_a_killed_regeneration_goes_on_where_it_was(
    moment: int, tiny_data: Path, tmp_path: Path, fault_table: FaultTable
) -> None:
    with fault_table.trial("kills of a regeneration from an endpoint"), staggered() as server:
        work = bench(server, tiny_data, tmp_path)
        work.kill_at(moment)
        recorded = work.recorded
        assert moment <= recorded < ANSWERS and not list(work.store.glob("regenerated_corpus/*"))
        before = server.calls.copy()
        work.run()
        again = sum((server.calls - before).values())
        assert again == ANSWERS - recorded, "what was recorded is not asked again"
        killed = work.candidates
        undisturbed = bench(server, tiny_data, tmp_path / "undisturbed")
        undisturbed.run()
        assert killed == undisturbed.candidates


@pytest.mark.slow
def test_batches_of_a_killed_run_have_the_bytes_of_an_undisturbed_one(
    tiny_data: Path, tmp_path: Path
) -> None:
    with FakeServer() as server:
        work = bench(server, tiny_data, tmp_path)
        work = Bench(work.data, work.store, "tiny-batched")
        work.kill_at(8)
        assert work.recorded % 4 == 0
        undisturbed = Bench(work.data, tmp_path / "undisturbed/store", "tiny-batched")
        digest = work.run()
        assert work.bytes_repeat and digest == undisturbed.run()


@pytest.mark.parametrize(
    "kind", ["error 500", "busy", "not json", "no choices", "cut body", "no finish", "reset"]
)
def test_a_failing_server_changes_nothing(kind: str, tiny_data: Path, tmp_path: Path) -> None:
    """A third of the first calls fail, each time in another way; every candidate comes all the same."""
    with FakeServer() as server:
        work = bench(server, tiny_data, tmp_path)
        random_ = random.Random(kind)
        bad = {i for i in range(ANSWERS) if random_.random() < 1 / 3}
        fault = Fault(kind, 0.1 if kind == "busy" else None)  # type: ignore[arg-type]
        server.fault = lambda asked: fault if asked.call == 1 and len(server.calls) in bad else None
        work.run()
        disturbed, calls = work.candidates, sum(server.calls.values())
        assert calls > ANSWERS and max(server.calls.values()) <= 3
        server.fault = lambda asked: None
        undisturbed = bench(server, tiny_data, tmp_path / "undisturbed")
        undisturbed.run()
        assert disturbed == undisturbed.candidates


def test_a_prompt_that_is_refused_is_an_error_row_and_is_not_asked_twice(
    tiny_data: Path, tmp_path: Path
) -> None:
    with FakeServer() as server:
        work = bench(server, tiny_data, tmp_path)
        server.fault = lambda asked: Fault("too long") if (asked.seed or 0) % 5 == 0 else None
        work.run()
        rows = work.candidates.values()
        refused = [row for row in rows if row.finish == "error"]
        assert refused and max(server.calls.values()) == 1
        assert {row.candidate_id for row in work.failed} == {row.id for row in refused}
        assert all("maximum context length" in row.error for row in work.failed)


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    """A file system of its own; skips where one may not be mounted."""
    folder.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", folder],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("no file system may be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_stops_the_run_and_loses_nothing(tiny_data: Path, tmp_path: Path) -> None:
    with FakeServer() as server, small_disk(tmp_path / "home", 256) as disk:
        work = bench(server, tiny_data, tmp_path)
        free = shutil.disk_usage(disk).free
        filler = disk / "filler"
        # Room for the seeds' artifact and some of the samples.
        filler.write_bytes(b"0" * (free - 40 * 1024))
        with pytest.raises(FaqError, match="no space left on the disk"):
            work.run()
        recorded, before = work.recorded, server.calls.copy()
        filler.unlink()
        work.run()
        assert sum((server.calls - before).values()) == ANSWERS - recorded
        assert len(work.candidates) == ANSWERS
