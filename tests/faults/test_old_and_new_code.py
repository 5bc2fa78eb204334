"""Old and new code on one store: each reuses, traces and continues what the other made.

The old code is that of commit OLD, taken from git's history, in processes of its own. Old and new have a
Dagster home each and share the rest of FAQ_HOME: the store with its ledgers, the lineage index and the
digest cache. The tiny family's members are declared so large that the new code widens none of them to
float32 (`models.precision`): precision enters the identity only where it is float32.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from faq_pipeline.execution.graph import STAGES
from faq_pipeline.models.precision import WIDENED
from faq_pipeline.settings import REPOSITORY
from faq_pipeline.store.store import Store
from tests.faults.table import FaultTable
from tests.faults.test_regeneration import ANSWERS, RECIPE, SEEDS, staggered
from tests.site import CONTROL

OLD = "bd61d0c"
KIND = "old and new code on one store"
FIRST, SECOND = "tiny-original", "tiny-faq"
"""The recipe that the old code makes first, and the one that the new code makes first."""
MOVED = {"competition_scores"}
"""Stages whose declared identity has changed for recipes that regenerate (tests/identity)."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("FAQ_ALL_MOMENTS"), reason="minutes: make faults runs it"),
]


@dataclass(frozen=True)
class Code:
    """One version of the code, with the home that both use.

    Attributes:
        source: the folder that holds `faq_pipeline` and `tests`.
    """

    name: str
    source: Path
    home: Path
    data: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": str(self.source),
            "FAQ_HOME": str(self.home),
            "FAQ_DATA": str(self.data),
            "FAQ_DEVICE": "cpu",
            "DAGSTER_HOME": str(self.home.with_name(f"dagster-{self.name}")),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        }

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """What `faq` prints."""
        done = subprocess.run(
            [sys.executable, "-m", "faq_pipeline", *arguments],
            env=self.environment,
            cwd=self.source,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, (self.name, arguments, done.stdout[-2000:], done.stderr[-4000:])
        return done.stdout

    def run(self, recipe: str) -> dict[str, tuple[str, str]]:
        """`faq run` of tiny-s: fingerprint and `hit` or `miss` of the recipe's stages."""
        printed = json.loads(self("run", "--member", "tiny-s", "--recipe", recipe, "--json"))
        return {
            row["asset"]: (row["fingerprint"], row["cache"])
            for row in printed["stages"]
            if row["recipe"] == recipe and row["asset"] in STAGES
        }

    def regenerate(self, recipe: str) -> subprocess.Popen[str]:
        """A process that makes the recipe's corpus and prints its digest."""
        return subprocess.Popen(
            [sys.executable, "-m", "tests.faults.regenerating", self.data, self.home / "store", recipe],
            env=self.environment,
            cwd=self.source,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


@pytest.fixture(scope="module")
def old_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of commit OLD."""
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        pytest.skip("no git checkout")
    known = ["git", "cat-file", "-e", f"{OLD}^{{commit}}"]
    if subprocess.run(known, cwd=REPOSITORY, capture_output=True, check=False).returncode:
        pytest.skip(f"commit {OLD} is not in this checkout's history")
    folder = tmp_path_factory.mktemp("old")
    subprocess.run(
        ["git", "archive", "--output", folder / "old.tar", OLD],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    )
    with tarfile.open(folder / "old.tar") as archive:
        archive.extractall(folder / "source", filter="data")
    return folder / "source"


@pytest.fixture(scope="module")
def large_data(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny family, declared large, with the recipe of the original data."""
    root = Path(shutil.copytree(tiny_data, tmp_path_factory.mktemp("large") / "data"))
    family = root / "families/tiny.yaml"
    text = family.read_text().replace("memory_budget_gib: 1\n", "memory_budget_gib: 100\n")
    sizes = iter((WIDENED, 2 * WIDENED))  # the teacher is the larger one
    family.write_text(re.sub(r"parameters: \d+", lambda _: f"parameters: {next(sizes)}", text))
    (root / f"recipes/{FIRST}.yaml").write_text(CONTROL)
    return root


@dataclass(frozen=True)
class Shared:
    """What runs of both codes in turn printed, in one home.

    Attributes:
        rows: by code, recipe and turn, in this order of runs.
        indexed: samples of a checkpoint as the code that did not make it traces them.
    """

    old: Code
    new: Code
    rows: dict[str, dict[str, tuple[str, str]]]
    indexed: dict[str, list[Any]]


@pytest.fixture(scope="module")
def shared(old_source: Path, large_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Shared:
    home = tmp_path_factory.mktemp("shared") / "home"
    old = Code("old", old_source, home, large_data)
    new = Code("new", REPOSITORY, home, large_data)
    rows, indexed = {}, {}

    def checkpoint(turn: str) -> str:
        return rows[turn]["quantized_checkpoint"][0]

    rows["old first"] = old.run(FIRST)
    rows["new first"] = new.run(FIRST)
    indexed["old's, by new"] = traced(new, checkpoint("old first"))
    rows["new second"] = new.run(SECOND)
    rows["old second"] = old.run(SECOND)
    indexed["new's, by old"] = traced(old, checkpoint("new second"))
    rows["new second again"] = new.run(SECOND)
    rows["old first again"] = old.run(FIRST)
    return Shared(old, new, rows, indexed)


def traced(code: Code, fingerprint: str) -> list[Any]:
    return list(json.loads(code("lineage", "trace", fingerprint, "--json"))["samples"])


def caches(rows: dict[str, tuple[str, str]]) -> dict[str, str]:
    return {stage: cache for stage, (_, cache) in rows.items()}


ALL_HITS = dict.fromkeys(STAGES, "hit")


def test_new_code_reuses_what_old_code_made(shared: Shared, fault_table: FaultTable) -> None:
    """Every stage: identities and digests are kept."""
    with fault_table.trial(KIND):
        assert set(caches(shared.rows["old first"]).values()) == {"miss"}
        assert caches(shared.rows["new first"]) == ALL_HITS


def test_old_code_reuses_what_new_code_made(shared: Shared, fault_table: FaultTable) -> None:
    """But for what has another identity by now, and what is made of it."""
    with fault_table.trial(KIND):
        new, old = shared.rows["new second"], shared.rows["old second"]
        assert new["regenerated_corpus"][1] == "miss"
        moved = {stage for stage in STAGES if new[stage][0] != old[stage][0]}
        assert moved <= {*MOVED, *consumers(MOVED)}
        assert {stage for stage, (_, cache) in old.items() if cache == "miss"} <= moved
        assert old["regenerated_corpus"] == (new["regenerated_corpus"][0], "hit")


def consumers(stages: set[str]) -> set[str]:
    """Stages whose inputs have one of these above them."""
    found = set(stages)
    for name, stage in STAGES.items():  # in the order of the graph
        if found & set(stage.inputs):
            found.add(name)
    return found


def test_neither_unmakes_what_the_other_made(shared: Shared, fault_table: FaultTable) -> None:
    with fault_table.trial(KIND):
        assert caches(shared.rows["new second again"]) == ALL_HITS
        assert caches(shared.rows["old first again"]) == ALL_HITS
        for code in (shared.old, shared.new):
            code("cache", "verify")


@pytest.mark.parametrize("whose", ["old's, by new", "new's, by old"])
def test_each_merges_the_others_artifacts_into_the_index(
    whose: str, shared: Shared, fault_table: FaultTable
) -> None:
    """The index as runs of both left it answers as one that the new code rebuilds."""
    with fault_table.trial(KIND):
        samples = shared.indexed[whose]
        assert samples and all(one["winner"] and one["seed"] for one in samples)
        turn = "old first" if whose.startswith("old") else "new second"
        fingerprint = shared.rows[turn]["quantized_checkpoint"][0]
        shared.new("lineage", "rebuild")
        again = traced(shared.new, fingerprint)
        assert ids(again) == ids(samples)


def ids(samples: list[Any]) -> list[tuple[str, str]]:
    return sorted((one["seed"]["id"], one["winner"]["candidate"]["id"]) for one in samples)


def test_an_artifact_of_either_is_exported_by_new_code(
    shared: Shared, tmp_path: Path, fault_table: FaultTable
) -> None:
    with fault_table.trial(KIND):
        for turn in ("old first", "old second", "new second"):
            folder = tmp_path / turn.replace(" ", "-")
            shared.new("export", shared.rows[turn]["quantized_checkpoint"][0], str(folder))
            assert (folder / "config.json").is_file()


@pytest.mark.parametrize("killed", ["old", "new"])
def test_each_continues_the_others_ledger(
    killed: str, old_source: Path, large_data: Path, tmp_path: Path, fault_table: FaultTable
) -> None:
    """A regeneration that is killed under one is finished by the other, and no sample is asked twice."""
    with fault_table.trial(KIND), staggered() as server:
        data = Path(shutil.copytree(large_data, tmp_path / "data"))
        text = RECIPE.format(seeds=SEEDS, candidates=ANSWERS // SEEDS, url=server.url)
        (data / "recipes/tiny-endpoint.yaml").write_text(text)
        both = [
            Code("old", old_source, tmp_path / "home", data),
            Code("new", REPOSITORY, tmp_path / "home", data),
        ]
        first, then = both if killed == "old" else reversed(both)
        store = Store(tmp_path / "home/store")
        with running(first.regenerate("tiny-endpoint")) as process:
            deadline = time.monotonic() + 600
            while recorded(store) < ANSWERS // 3:
                assert process.poll() is None, process.communicate()[1]
                assert time.monotonic() < deadline
                time.sleep(0.002)
        kept, before = recorded(store), server.calls.copy()
        assert kept < ANSWERS and not list(store.root.glob("regenerated_corpus/*"))
        with running(then.regenerate("tiny-endpoint")) as process:
            out, err = process.communicate()
            assert process.returncode == 0, err
        assert sum((server.calls - before).values()) == ANSWERS - kept
        (made,) = store.artifacts("regenerated_corpus")
        assert out.split()[-1] == made.digest and store.verify(made) == []


def recorded(store: Store) -> int:
    """Whole lines in its ledgers."""
    return sum(path.read_bytes().count(b"\n") for path in store.root.glob(".ledgers/*/*.jsonl"))


@contextmanager
def running(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """At the end of the block the process is killed with all of its group."""
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
