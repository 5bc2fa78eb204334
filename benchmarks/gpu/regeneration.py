"""Our engine beside bare `LLM.generate` on the same requests, and seeded candidates alone and in batches.

    python -m benchmarks.gpu.regeneration FOLDER [--rounds 1] [--alone 32] [--out FILE]

First our whole path (managed server, client, ledger on disk), then, when that server is gone, a
fresh process with vLLM alone (`bare_generate.py`), on the same requests with the same seeds: prompts
of 256 tokens, 4 candidates each, 256 new tokens. The bare process makes one more pass without the
log-probabilities that we ask for. Both are warmed up by requests of their own, and prompts differ
from pass to pass: the prefix cache helps within a pass alone. Starting times are told apart.

Where our server is told how large its CUDA graphs are, a second bare process is told the same and
makes the first round again: what that choice is worth by itself.

With `--client` a bare client asks our server too, with log-probabilities and without: what the server
takes is told apart from what our client takes.

With `--alone`, our server then answers a batch of 512 requests, and some of them one at a time (see
`seeded`). `VLLM_BATCH_INVARIANT=1` in the environment reaches both processes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.arms import through_bare_client, through_engine
from benchmarks.gpu.prompts import make_requests, write_requests
from benchmarks.gpu.seeded import compare_seeded
from faq_pipeline.config.family import Member, Serving
from faq_pipeline.config.recipe import Sampling
from faq_pipeline.inference.engine import Request
from faq_pipeline.inference.environment.environment import find_environment
from faq_pipeline.inference.factory import EngineSpec, make_engine
from faq_pipeline.inference.server.command import server_command, server_variables
from faq_pipeline.models.device import choose_device
from faq_pipeline.models.weights import Weights

CONTEXT = 4096
TEMPERATURE = 0.8
SAME: dict[str, dict[str, Any]] = {
    "cuda": {"max_num_seqs": 1024},
    "cpu": {"max_num_seqs": 1024, "enable_chunked_prefill": False, "max_num_batched_tokens": 16384},
}
"""Options that both get. What else differs is our server's choice, or vLLM's own for a server and `LLM`."""


def main() -> None:
    """Measure, print and write."""
    options = _options()
    device = choose_device("auto")
    # The digests of 16 GB would take their time, and nothing here asks for them.
    weights = Weights(Member(name="shape", path=options.folder, parameters=1), "random", "random")
    serving = Serving(context=CONTEXT, arguments={**SAME[device], **options.arguments})
    work = EngineSpec(weights, device, 1, serving)
    result: dict[str, Any] = {"options": vars(options)}
    rounds = [_requests(options, str(number)) for number in range(1, options.rounds + 1)]
    _ours(work, rounds, options, result)
    _write(options, result)  # part by part: the next one may fail, or outlast the time that there is
    if rounds:
        _bare(work, rounds, options, result)
        _compare(result)
        _write(options, result)
        _bare_with_graphs(work, rounds[0], options, result)
        _write(options, result)


def _write(options: Any, result: dict[str, Any]) -> None:
    if options.out:
        options.out.write_text(json.dumps(result, indent=1, default=str) + "\n", encoding="utf-8")


def _requests(options: Any, name: str) -> list[Request]:
    return make_requests(options.folder, name, options.prompts, options.length, options.candidates)


def _warm(options: Any) -> list[Request]:
    return make_requests(options.folder, "warm", 32, options.length, 1)


def _ours(work: EngineSpec, rounds: Sequence[list[Request]], options: Any, result: dict[str, Any]) -> None:
    sampling = Sampling(temperature=TEMPERATURE, max_new_tokens=options.new_tokens)
    engine = make_engine("vllm", work)
    result |= {"engine": engine.identity(), "ours": []}
    started = time.perf_counter()
    with engine:
        result["server_start_seconds"] = time.perf_counter() - started
        print(f"our server ready after {result['server_start_seconds']:.1f} s", flush=True)
        through_engine("warm", engine, _warm(options), sampling)
        for number, requests in enumerate(rounds, 1):
            took = through_engine(f"ours, round {number}", engine, requests, sampling)
            print(took, flush=True)
            result["ours"].append(took.as_dict())
        result["figures"] = engine.figures()
        if options.client:
            server = engine._server  # type: ignore[attr-defined]
            for name, asks in (("client", True), ("client, no log-probabilities", False)):
                requests = _requests(options, name)
                at_once = len(requests)
                took = through_bare_client(
                    server.base_url, server.name, requests, sampling, at_once, logprobs=asks
                )
                print(f"our server, {took}", flush=True)
                result[name] = took.as_dict()
        if options.alone:
            batch = make_requests(options.folder, "seeded", options.batch, options.length, 1)
            short = Sampling(temperature=TEMPERATURE, max_new_tokens=options.alone_tokens)
            result["seeded"] = compare_seeded(engine, batch, options.alone, short)
            for name, value in result["seeded"].items():
                print(f"seeded, {name}: {value}", flush=True)


def _bare(work: EngineSpec, rounds: Sequence[list[Request]], options: Any, result: dict[str, Any]) -> None:
    named = [(f"round {number}", requests) for number, requests in enumerate(rounds, 1)]
    warm, plain = ("warm", _warm(options)), ("no log-probabilities", _requests(options, "plain"))
    result["bare"] = _generate(work, options, _engine_options(work), [warm, *named, plain])


def _bare_with_graphs(
    work: EngineSpec, requests: list[Request], options: Any, result: dict[str, Any]
) -> None:
    """The first round once more, with graphs for as many sequences as our server makes them for."""
    name = "--max-cudagraph-capture-size="
    command = server_command(
        find_environment(work.device), options.folder, "shape", work.serving, work.device, 0
    )
    graphs = [int(flag.removeprefix(name)) for flag in command if flag.startswith(name)]
    if not graphs:
        return
    engine = _engine_options(work) | {"max_cudagraph_capture_size": graphs[0]}
    result["bare_graphs"] = _generate(
        work, options, engine, [("warm", _warm(options)), ("round 1", requests)]
    )
    speed = result["bare_graphs"]["passes"][-1]["tokens_per_second"]
    result["ours_over_bare_graphs"] = result["ours"][0]["tokens_per_second"] / speed
    print(f"ours_over_bare_graphs: {result['ours_over_bare_graphs']:.3f}")


def _generate(
    work: EngineSpec, options: Any, engine: dict[str, Any], wanted: Sequence[tuple[str, list[Request]]]
) -> dict[str, Any]:
    """What `bare_generate.py` finds in a process of its own."""
    with TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        passes = []
        for name, requests in wanted:
            path = scratch / f"{name}.jsonl"
            write_requests(path, requests)
            sampling = {} if name == "no log-probabilities" else {"logprobs": 0}
            passes.append({"name": name, "requests": str(path), "sampling": sampling})
        specification, results = scratch / "wanted.json", scratch / "found.json"
        common = {
            "temperature": TEMPERATURE,
            "max_tokens": options.new_tokens,
            "skip_special_tokens": False,
        }
        what = {"engine": engine, "sampling": common, "passes": passes}
        specification.write_text(json.dumps(what), encoding="utf-8")
        subprocess.run(
            [
                find_environment(work.device).python,
                Path(__file__).with_name("bare_generate.py"),
                specification,
                results,
            ],
            env=server_variables(options.folder, work.serving, work.device, 1),
            check=True,
        )
        return dict(json.loads(results.read_text(encoding="utf-8")))


def _engine_options(work: EngineSpec) -> dict[str, Any]:
    """What `serving.command` says to our server, as arguments of `LLM`."""
    return {
        "model": str(work.weights.folder),
        "dtype": "bfloat16",
        "seed": 0,
        "generation_config": "vllm",
        "max_model_len": work.serving.context,
        "gpu_memory_utilization": work.serving.memory,
        **work.serving.arguments,
    }


def _compare(result: dict[str, Any]) -> None:
    passes = {one["name"]: one["tokens_per_second"] for one in result["bare"]["passes"]}
    ours = [took["tokens_per_second"] for took in result["ours"]]
    result["ours_over_bare"] = [speed / passes[f"round {n}"] for n, speed in enumerate(ours, 1)]
    result["ours_over_bare_without_logprobs"] = [speed / passes["no log-probabilities"] for speed in ours]
    for name in ("ours_over_bare", "ours_over_bare_without_logprobs"):
        print(f"{name}:", *(f"{ratio:.3f}" for ratio in result[name]))
    print(
        f"start: our server {result['server_start_seconds']:.1f} s,"
        f" bare LLM {result['bare']['start_seconds']:.1f} s"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="made by benchmarks.gpu.shape")
    parser.add_argument("--rounds", type=int, default=1, help="0: only seeded candidates")
    parser.add_argument("--prompts", type=int, default=512)
    parser.add_argument("--length", type=int, default=256, help="tokens of a prompt")
    parser.add_argument("--candidates", type=int, default=4)
    parser.add_argument("--new-tokens", type=int, default=256)
    parser.add_argument("--client", action="store_true", help="a bare client on our server, too")
    parser.add_argument("--alone", type=int, default=0, help="seeded requests to send one at a time")
    parser.add_argument("--alone-tokens", type=int, default=128)
    parser.add_argument("--batch", type=int, default=512, help="requests of the batch that they are part of")
    parser.add_argument(
        "--arguments", type=json.loads, default={}, help='JSON: more options, {"load_format": "dummy"}'
    )
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
