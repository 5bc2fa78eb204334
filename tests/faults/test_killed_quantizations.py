"""Quantizations killed with `kill -9` at a layer: the next run goes on there and ends with the same bytes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from faq_pipeline.settings import REPOSITORY
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.store import Store
from tests.faults.quantizing import MEMBER, quantize
from tests.faults.table import FaultTable
from tests.tiny import make_member

LAYERS = 5
ALL = bool(os.environ.get("FAQ_ALL_MOMENTS"))
KILLS = 10 if ALL else 1
RECIPES = {
    "gptq": "{method: gptq, scheme: W4A16, group_size: 32, actorder: static, observer: imatrix,"
    " compensation: {rank: 2}}",
    "outliers": "{method: gptq, scheme: W3A16, group_size: 32, observer: imatrix,"
    " compensation: {kind: outlier_columns, rank: 2}}",
    "gptaq": "{method: gptaq, scheme: W3A16, group_size: 32}",
    "foem": "{method: foem, scheme: W3A16, group_size: 32}",
    "decoupleq": "{method: decoupleq, scheme: W2A16, group_size: 32, compensation: {rank: 2}}",
    "awq": "{method: awq, scheme: W4A16, group_size: 32}",
    "smoothquant": "{method: smoothquant, scheme: W8A8, group_size: channel}",
    "plan": "{method: gptq, scheme: W4A16, group_size: 32, plan: {average_bits: 4, bits: [3, 4, 6]}}",
}
RECIPE = """\
name: {name}
extends: tiny-faq
title: a quantization that is killed
regeneration: {{source: self}}
quantization: {quantization}
"""


@dataclass(frozen=True)
class Bench:
    """A data folder, a store, and the process that quantizes."""

    data: Path
    store: Store
    recipe: str

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.faults.quantizing", self.data, self.store.root, self.recipe],
            cwd=REPOSITORY,
            env={**os.environ, "FAQ_HOME": str(self.store.root.parent)},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self) -> str:
        """What the user is told; in this process, which nobody kills."""
        return "\n".join(quantize(self.data, self.store, self.recipe))

    @property
    def recorded(self) -> list[Path]:
        """What is in the journal of finished steps and measurements."""
        return sorted(self.store.unfinished.root.rglob("*.json"))

    def kill_after(self, steps: int, later: float) -> bool:
        """Kill its whole group some time after so many entries were written; False if it ended before."""
        process = self.start()
        seen: set[Path] = set()
        deadline = time.monotonic() + 300
        while len(seen) < steps and process.poll() is None:
            seen.update(self.recorded)
            assert time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(later)
        hit = process.poll() is None
        if hit:
            os.killpg(process.pid, signal.SIGKILL)
        _, errors = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), errors
        return hit

    @property
    def artifact(self) -> Artifact:
        (made,) = self.store.artifacts("quantized_checkpoint")
        return made

    @property
    def sums(self) -> dict[str, str]:
        """The hash of every file of the artifact; `verify` has compared them with the bytes."""
        assert self.store.verify(self.artifact) == []
        return {entry.path: entry.sha256 for entry in self.artifact.manifest.files}


@pytest.fixture(scope="module")
def deep_data(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny family with a deeper member."""
    data = Path(shutil.copytree(tiny_data, tmp_path_factory.mktemp("deep"), dirs_exist_ok=True))
    parameters = make_member(data / f"models/{MEMBER}", layers=LAYERS, seed=3)
    family = data / "families/tiny.yaml"
    member = f"  - name: {MEMBER}\n    path: ../models/{MEMBER}\n    parameters: {parameters}\n"
    family.write_text(family.read_text().replace("members:\n", f"members:\n{member}"))
    for name, quantization in RECIPES.items():
        (data / f"recipes/{name}.yaml").write_text(RECIPE.format(name=name, quantization=quantization))
    return data


@pytest.fixture(scope="module")
def undisturbed(deep_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bench]:
    """A run of each recipe that nobody kills."""

    def run(recipe: str) -> Bench:
        calm = Bench(deep_data, Store(tmp_path_factory.mktemp(recipe) / "store"), recipe)
        assert "interrupted" not in calm.run()
        return calm

    return cache(run)


def moments(recipe: str) -> list[tuple[int, float]]:
    """Numbers of journal entries at which a run is killed, and how many seconds later."""
    drawn = random.Random(recipe)
    # A plan has its widths one after the other, SmoothQuant its two passes.
    last = {"plan": 3 * (LAYERS + 2), "smoothquant": 2 * LAYERS + 1}.get(recipe, LAYERS)
    return [(drawn.randint(2, last), drawn.uniform(0, 0.3)) for _ in range(KILLS)]


CASES = [
    pytest.param(recipe, *moment, id=f"{recipe}-{moment[0]}", marks=[pytest.mark.slow] if ALL else [])
    for recipe in (RECIPES if ALL else ["gptq"])
    for moment in moments(recipe)
]


@pytest.mark.parametrize(("recipe", "entries", "later"), CASES)
def test_a_killed_quantization_goes_on_and_ends_with_the_same_bytes(
    recipe: str,
    entries: int,
    later: float,
    undisturbed: Callable[[str], Bench],
    deep_data: Path,
    tmp_path: Path,
    fault_table: FaultTable,
) -> None:
    calm = undisturbed(recipe)
    with fault_table.trial("kills of a quantization at a layer"):
        work = Bench(deep_data, Store(tmp_path / "store"), recipe)
        assert work.kill_after(entries, later), "it ended before it was killed"
        assert not list(work.store.artifacts("quantized_checkpoint")) and work.recorded
        told = work.run()
        assert "from the interrupted run" in told, told
        assert work.sums == calm.sums
        assert work.artifact.metadata == calm.artifact.metadata | {"resumed": True}
        assert not work.store.unfinished.fingerprints()
