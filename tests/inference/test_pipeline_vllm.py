"""The pipeline and its faults with the real vLLM, on the CPU: `faq run` on kin, and servers killed."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from faq_pipeline.config.catalog import Catalog
from faq_pipeline.config.family import Serving
from faq_pipeline.config.recipe import Sampling
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.resolver import resolve_cell
from faq_pipeline.inference import vllm_engine
from faq_pipeline.inference.client.client import AHEAD
from faq_pipeline.inference.engine import Request
from faq_pipeline.inference.environment.environment import Environment
from faq_pipeline.inference.ledger import Ledger
from faq_pipeline.inference.sampling import Sampled, sample
from faq_pipeline.inference.vllm_engine import VllmEngine
from faq_pipeline.settings import REPOSITORY
from faq_pipeline.store.store import Store
from faq_pipeline.util.progress import SilentProgress
from tests.faults.table import FaultTable
from tests.orchestration.cli import Faq

pytestmark = [pytest.mark.slow, pytest.mark.vllm]

DATA = REPOSITORY / "data"
SMALL = f"""\
name: small-vllm
title: FAQ on vLLM with few seeds and questions
families: [kin]
seeds: {{path: {DATA}/seeds/kin-mixed.jsonl, count: 96}}
regeneration:
  source: teacher
  candidates: 2
  engine: vllm
  sampling: {{temperature: 0.8, max_new_tokens: 224}}
competition: {{experts: {{answer: 1.0, teacher_likelihood: 0.5, target_likelihood: 0.5}}}}
calibration: {{template: chat, tokens: 2048, sequence_length: 256}}
quantization: {{method: gptq, scheme: W4A16, group_size: 128, actorder: static}}
evaluation:
  tasks: [kin_demo]
  include: {DATA}/eval/kin
  max_new_tokens: 224
  engine: vllm
  limit: 48
  prose: {DATA}/eval/kin/prose.jsonl
  traces: 16
"""
REQUESTS = 96
IN_FLIGHT = 4
"""Requests that a copy of the server holds at a time: few, so that a kill comes before the last is sent."""
MOMENTS, IN_CI = 20, 1


def test_the_whole_pipeline_runs_on_vllm(vllm_environment: Environment, tmp_path: Path) -> None:
    """Seeds to report: teacher, traces, likelihoods and both evaluations on servers of our own."""
    (tmp_path / "data/recipes").mkdir(parents=True)
    (tmp_path / "data/families").mkdir()
    (tmp_path / "data/recipes/small-vllm.yaml").write_text(SMALL)
    faq = Faq(tmp_path / "home", tmp_path / "data")
    done = faq("run", "--member", "kin-4m", "--recipe", "small-vllm", "--json", timeout=1500)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["result"]["reference"]["value"] > 0.7
    assert made["result"]["recovery"]["value"] > 0.8
    stages = {row["asset"]: row["fingerprint"] for row in made["stages"]}
    corpus = Store(faq.home / "store").get("regenerated_corpus", stages["regenerated_corpus"])
    assert corpus is not None
    figures = corpus.metadata
    assert figures["candidates"] == 192 and figures["engine"]["gpus"] == 0 and figures["failed"] == 0
    assert figures["tokens_per_second"] > 0 and figures["engine"]["prefix_cache_hit_rate"] is not None
    servers = [p for p in psutil.process_iter(["cmdline"]) if "api_server" in str(p.info["cmdline"])]
    assert not [p for p in servers if str(tmp_path) in str(p.environ())]


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Cell:
    catalog = Catalog((REPOSITORY / "data",))
    recipe = catalog.recipe("self-gptq-w3a16")
    return resolve_cell(catalog, "kin-2m", recipe, "cpu", tmp_path_factory.mktemp("digests"))


class Killer(SilentProgress):
    """Kills one of vLLM's processes once so many samples are there."""

    def __init__(self, moment: int, choose: Callable[[list[psutil.Process]], psutil.Process]) -> None:
        self.moment, self.choose, self.done, self.killed = moment, choose, 0, 0

    def advance(self, done: int = 1) -> None:
        self.done += done
        if self.done >= self.moment and not self.killed:
            below = psutil.Process().children(recursive=True)
            vllm = [p for p in below if is_vllm(" ".join(p.cmdline()))]
            self.killed = len(vllm)
            self.choose(vllm).kill()


def is_vllm(command: str) -> bool:
    """Not the process that clears up after Python's own: nobody misses it."""
    return "vllm" in command.lower() and "resource_tracker" not in command


def work(cell: Cell, ledgers: Path, serving: Serving, listener: SilentProgress) -> Sampled:
    prompt = "<|im_start|>user\nMira has {} apples and gives 5 away.<|im_end|>\n<|im_start|>assistant\n"
    requests = [Request(f"s{i}#0", prompt.format(i + 6), 1000 + i) for i in range(REQUESTS)]
    engine = VllmEngine(cell.target, "cpu", serving)
    ledger = Ledger(ledgers, {"test": 1})
    return sample(engine, requests, Sampling(temperature=0.8, max_new_tokens=96), ledger, listener)


def kills() -> list[tuple[int, int, int]]:
    """(samples that are there, number of the process, data-parallel copies), seeded."""
    rng = random.Random(11)
    spread = [1 + i * (REQUESTS - 20) // (MOMENTS - 1) for i in range(MOMENTS)]
    rng.shuffle(spread)
    chosen = [(moment, rng.randrange(100), 1 + i % 2) for i, moment in enumerate(spread)]
    return chosen if os.environ.get("FAQ_ALL_MOMENTS") else chosen[:IN_CI]


@pytest.mark.parametrize(("moment", "number", "copies"), kills())
def test_a_killed_server_loses_nothing(
    moment: int,
    number: int,
    copies: int,
    cell: Cell,
    vllm_environment: Environment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault_table: FaultTable,
) -> None:
    """`kill -9` of the server, its engine or a worker: every sample comes once, and the server is
    started again where requests were still to be sent. After a late kill there may be none; and where
    there are two copies, the other may answer them.
    """
    with fault_table.trial("kills of a vLLM server, its engine or a worker"):
        monkeypatch.setenv("FAQ_HOME", str(tmp_path))
        monkeypatch.setattr(vllm_engine, "IN_FLIGHT", IN_FLIGHT)
        restarts = restarts_after_a_kill(cell, tmp_path / "ledgers", moment, number, copies)
        # Answered by then, at most: those that were counted, those that wait for it, those in flight.
        answered = moment + (AHEAD + 1) * IN_FLIGHT
        assert restarts or copies > 1 or answered >= REQUESTS


def restarts_after_a_kill(cell: Cell, ledgers: Path, moment: int, number: int, copies: int) -> int:
    """One run whose server is killed: it has every sample once, and leaves no process."""
    killer = Killer(moment, lambda processes: processes[number % len(processes)])
    made = work(cell, ledgers, Serving(data_parallel=copies, context=256), killer)
    assert killer.killed and made.figures["restarts"] <= 1
    assert made.figures["restarts"] == 1 or made.figures["retries"] == 0
    assert len(made.completions) == REQUESTS
    assert all(completion.finish != "error" for completion in made.completions.values())
    (segment,) = ledgers.glob("*/*.jsonl")
    keys = [json.loads(line)["key"] for line in segment.read_text().splitlines()]
    assert len(keys) == len(set(keys)) == REQUESTS
    children = psutil.Process().children(recursive=True)
    assert not [child for child in children if "vllm" in " ".join(child.cmdline())]
    return int(made.figures["restarts"])
