"""Speed of the `transformers` engine on this CPU in bf16 and in float32, with one thread and two.

    python -m benchmarks.precision [--member kin-8m] [--seeds 64] [--rounds 3]

The arms sample the same seeds of the default recipe in turn. Printed are medians over the rounds:
tokens a second of wall time, of CPU time, and of the main thread's CPU time, which on a busy machine
tells best what an idle one would take. `precision_for` should choose the fastest arm:

    ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 python -m benchmarks.precision

runs as on a processor with AVX2 alone.
"""

from __future__ import annotations

import argparse
import statistics
import time
from unittest.mock import patch

from benchmarks.regeneration import _prompts, _requests
from faq_pipeline.config.recipe import Sampling
from faq_pipeline.inference.transformers_engine import TransformersEngine
from faq_pipeline.models import device, precision
from faq_pipeline.models.weights import find_weights
from faq_pipeline.settings import Settings

ARMS = [("bfloat16", 1), ("bfloat16", 2), ("float32", 1), ("float32", 2)]
CLOCKS = {"wall": time.perf_counter, "CPU": time.process_time, "main thread": time.thread_time}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--member", default="kin-8m")
    parser.add_argument("--seeds", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    settings = Settings.from_environment()
    family, member = settings.catalog.member(options.member)
    recipe = settings.catalog.recipe("faq-one-gptq-w3a16")
    weights = find_weights(member, settings.digests)
    requests = _requests(_prompts(family, recipe, weights, options.seeds), 1, "precision")
    took: dict[tuple[str, int], list[dict[str, float]]] = {arm: [] for arm in ARMS}
    for _ in range(options.rounds):
        for name, threads in ARMS:
            with (
                patch.object(precision, "has_bf16_arithmetic", lambda name=name: name == "bfloat16"),
                patch.dict(device.SMALL_THREADS, {name: threads}),
                TransformersEngine(weights, "cpu", 64) as engine,
            ):
                started = {clock: now() for clock, now in CLOCKS.items()}
                made = list(engine.generate(engine.units(requests), Sampling(max_new_tokens=224)))
                seconds = {clock: now() - started[clock] for clock, now in CLOCKS.items()}
            tokens = sum(completion.tokens for completion in made)
            took[name, threads].append({clock: tokens / spent for clock, spent in seconds.items()})
    for (name, threads), rounds in took.items():
        medians = {clock: statistics.median(one[clock] for one in rounds) for clock in CLOCKS}
        told = ", ".join(f"{speed:,.0f} by {clock}" for clock, speed in medians.items())
        print(f"{member.name}, {name}, {threads} thread(s): tokens/s {told}")


if __name__ == "__main__":
    main()
