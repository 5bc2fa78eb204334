"""The managed server with the real vLLM, on the CPU: minutes, most of them vLLM's imports."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from faq_pipeline.config.family import Serving
from faq_pipeline.inference.environment.environment import Environment
from faq_pipeline.inference.server.server import Server
from faq_pipeline.settings import REPOSITORY
from tests.inference.test_server import gone, until

MODEL = REPOSITORY / "data/models/kin-2m"
START = 900.0

pytestmark = [pytest.mark.slow, pytest.mark.vllm]


def make_server(environment: Environment, logs: Path, **serving: object) -> Server:
    return Server(
        environment, MODEL, "kin-2m", Serving(**serving), "cpu", logs=logs, threads=1, start_timeout=START
    )  # type: ignore[arg-type]


def complete(server: Server, prompt: str, seed: int) -> str:
    body = {"model": "kin-2m", "prompt": prompt, "max_tokens": 16, "seed": seed, "temperature": 1.0}
    headers = {"content-type": "application/json", "authorization": f"Bearer {server.key}"}
    request = urllib.request.Request(server.base_url + "/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=300) as response:
        return str(json.load(response)["choices"][0]["text"])


def complete_all(server: Server, count: int = 16) -> list[str]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda seed: complete(server, "Mira has 12 apples.", seed), range(count)))


def workers() -> list[psutil.Process]:
    """vLLM's worker processes below this one."""
    ours = psutil.Process().children(recursive=True)
    return [process for process in ours if "VLLM::Worker" in " ".join(process.cmdline())]


def test_serves_seeded_requests_and_dies_with_its_keeper(
    vllm_environment: Environment, tmp_path: Path
) -> None:
    before = time.monotonic()
    with make_server(vllm_environment, tmp_path, context=256) as server:
        server.wait_ready(START)
        print(f"ready after {time.monotonic() - before:.0f} s")
        texts = complete_all(server)
        assert len(set(texts)) > 4
        assert complete_all(server) == texts  # a seeded request is its own, whatever is beside it
        assert [complete(server, "Mira has 12 apples.", seed) for seed in (3, 7)] == [texts[3], texts[7]]
        metrics = server.metrics()
        assert metrics.prefix_cache_queries > 0
        assert metrics.generation_tokens > 100
        ours = [process.pid for process in psutil.Process().children(recursive=True)]
        assert len(ours) >= 3  # keeper, server, engine
        os.kill(psutil.Process().children()[0].pid, signal.SIGTERM)
        assert gone(ours)


def test_two_ranks_serve_and_are_restarted_when_one_is_killed(
    vllm_environment: Environment, tmp_path: Path
) -> None:
    with make_server(vllm_environment, tmp_path, data_parallel=2, context=256) as server:
        server.wait_ready(START)
        texts = complete_all(server)
        ranks = workers()
        assert len(ranks) == 2
        family = [process.pid for process in psutil.Process().children(recursive=True)]
        ranks[1].send_signal(signal.SIGKILL)
        assert until(lambda: server.restarts_used == 1)
        assert gone(family)
        server.wait_ready(START)
        assert complete_all(server) == texts
        assert len(workers()) == 2
