"""Bare `LLM.generate` on requests from files: what our engine's speed is measured against.

    PYTHON_WITH_VLLM bare_generate.py SPECIFICATION.json RESULTS.json

Runs under vLLM's own Python and imports nothing of this repository; `gpu.regeneration` writes the
specification and starts it. Each pass is one call of `generate` with all its requests.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from pathlib import Path
from typing import Any


def main(specification: Path, results: Path) -> None:
    """Run the passes in their order; each is written as soon as it is done."""
    from vllm import LLM, SamplingParams

    wanted = json.loads(specification.read_text())
    started = time.perf_counter()
    llm = LLM(**wanted["engine"])
    found: dict[str, Any] = {"start_seconds": time.perf_counter() - started, "passes": []}
    print(f"bare LLM ready after {found['start_seconds']:.1f} s", flush=True)
    for one in wanted["passes"]:
        requests = [json.loads(line) for line in Path(one["requests"]).read_text().splitlines()]
        common = {**wanted["sampling"], **one["sampling"]}
        params = [SamplingParams(seed=request["seed"], **common) for request in requests]
        started = time.perf_counter()
        outputs = llm.generate([request["prompt"] for request in requests], params, use_tqdm=False)
        seconds = time.perf_counter() - started
        tokens = sum(len(output.outputs[0].token_ids) for output in outputs)
        # A million objects that lived on would slow the next pass: Python's collector looks through them.
        del outputs
        gc.collect()
        speed = tokens / seconds
        figures = {"name": one["name"], "requests": len(requests), "tokens": tokens, "seconds": seconds}
        found["passes"].append({**figures, "tokens_per_second": speed})
        # vLLM's own output ends without a line break.
        print(
            f"\nbare, {one['name']}: {tokens:,} tokens in {seconds:.1f} s, {speed:,.0f} tokens/s", flush=True
        )
        results.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
