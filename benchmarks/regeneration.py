"""Regeneration's speed: our `vllm` engine beside a bare client on the same server, and `transformers`.

    python -m benchmarks.regeneration [--member kin-8m] [--requests 256] [--rounds 3] [--out FILE]

One server is started for the member. In each round the same requests (prompts of the recipe's
seeds x candidates, each with its own seed) go through a bare `AsyncOpenAI` with `gather` and a
semaphore, and through our engine with its ledger on disk; the order alternates, and seeds differ
from round to round. A first pass, not counted, fills the prefix cache alike for both. Then a part
of the requests goes through the `transformers` engine. Needs `faq engines install vllm`, or `FAQ_VLLM`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.arms import Took, ratios, through_bare_client, through_engine
from faq_pipeline.config.family import Family
from faq_pipeline.config.recipe import Recipe, Sampling
from faq_pipeline.inference.engine import Request
from faq_pipeline.inference.factory import EngineSpec, make_engine
from faq_pipeline.models.device import choose_device
from faq_pipeline.models.loading import load_tokenizer
from faq_pipeline.models.weights import Weights, find_weights
from faq_pipeline.prompting.prompts import seed_prompt
from faq_pipeline.regeneration.seeds import load_seeds
from faq_pipeline.settings import Settings
from faq_pipeline.util.seeded_choice import hashed


def main() -> None:
    """Measure, print and write."""
    options = _options()
    settings = Settings.from_environment()
    family, member = settings.catalog.member(options.member)
    recipe = settings.catalog.recipe(options.recipe)
    weights = find_weights(member, settings.digests)
    prompts = _prompts(family, recipe, weights, options.requests)
    sampling = Sampling(temperature=0.8, max_new_tokens=options.max_new_tokens)
    device = choose_device(settings.device)
    work = EngineSpec(weights, device, options.batch_size, family.serving_of(member))

    result = _served(work, prompts, sampling, options)
    subset = _requests(prompts[: options.subset], options.candidates, "transformers")
    if subset:
        result["transformers"] = _transformers(work, subset, sampling, result)
    result |= {"member": member.name, "device": device, "cpus": os.cpu_count(), "options": vars(options)}
    if options.out:
        Path(options.out).write_text(json.dumps(result, indent=1, default=str) + "\n", encoding="utf-8")


def _served(work: EngineSpec, prompts: Sequence[str], sampling: Sampling, options: Any) -> dict[str, Any]:
    engine = make_engine("vllm", work)
    started = time.perf_counter()
    with engine:
        start = time.perf_counter() - started
        print(f"server ready after {start:.1f} s", flush=True)
        server = engine._server  # type: ignore[attr-defined]  # the bare client asks the very same one
        warm = _requests(prompts, 1, "warm")
        through_engine("warm", engine, warm, sampling)
        rounds: list[tuple[Took, Took]] = []
        for number in range(options.rounds):
            requests = _requests(prompts, options.candidates, str(number))
            took: dict[str, Took] = {}
            for arm in ("ours", "bare") if number % 2 else ("bare", "ours"):
                took[arm] = (
                    through_engine("our engine", engine, requests, sampling)
                    if arm == "ours"
                    else through_bare_client(
                        server.base_url, server.name, requests, sampling, options.concurrency
                    )
                )
                print(f"round {number + 1}, {took[arm]}", flush=True)
            rounds.append((took["ours"], took["bare"]))
        figures = engine.figures()
    over = ratios(rounds)
    print(
        f"our engine over the bare client: {over['median']:.3f}"
        f" [{over['least']:.3f}, {over['greatest']:.3f}], median and range of {len(rounds)} rounds"
    )
    return {
        "engine": engine.identity(),
        "server_start_seconds": start,
        "rounds": [{"ours": ours.as_dict(), "bare": bare.as_dict()} for ours, bare in rounds],
        "ours_over_bare": over,
        "figures": figures,
    }


def _transformers(
    work: EngineSpec, requests: Sequence[Request], sampling: Sampling, result: dict[str, Any]
) -> dict[str, Any]:
    engine = make_engine("transformers", work)
    with engine:
        through_engine("warm", engine, requests[:8], Sampling(max_new_tokens=8))
        took = through_engine("transformers engine", engine, requests, sampling)
    ours = statistics.median(entry["ours"]["tokens_per_second"] for entry in result["rounds"])
    print(f"{took}\nour vllm engine over the transformers engine: {ours / took.speed:.2f}")
    return {"engine": engine.identity(), **took.as_dict(), "vllm_over_transformers": ours / took.speed}


def _prompts(family: Family, recipe: Recipe, weights: Weights, count: int) -> list[str]:
    assert recipe.seeds.path is not None
    tokenizer = load_tokenizer(weights)
    return [seed_prompt(seed, family, tokenizer) for seed in load_seeds(recipe.seeds.path, count)[:count]]


def _requests(prompts: Sequence[str], candidates: int, round_name: str) -> list[Request]:
    return [
        Request(f"{round_name}-{index}#{position}", prompt, hashed("benchmark", round_name, index, position))
        for index, prompt in enumerate(prompts)
        for position in range(candidates)
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--member", default="kin-8m")
    parser.add_argument("--recipe", default="faq-gptq-w4a16", help="whose seeds are the prompts")
    parser.add_argument("--requests", type=int, default=256, help="prompts")
    parser.add_argument("--candidates", type=int, default=4, help="of each prompt")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max-new-tokens", type=int, default=224)
    parser.add_argument("--concurrency", type=int, default=1000, help="of the bare client")
    parser.add_argument("--subset", type=int, default=64, help="prompts for the transformers engine; 0: none")
    parser.add_argument("--batch-size", type=int, default=64, help="of the transformers engine")
    parser.add_argument("--out", help="JSON file for the results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
