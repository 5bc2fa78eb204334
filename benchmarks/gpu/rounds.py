"""Processes that ask for one or two GPUs again and again: never two on one GPU, nobody starves.

    python -m benchmarks.gpu.rounds [--processes 4] [--rounds 20] [--out FILE]

Each process builds `--rounds` artifacts, one after the other without a pause, each on one or two GPUs
(drawn); the number stands for a run that asks for as many. While it has a GPU it fills two thirds of its
memory and computes: two on one GPU would run out of memory at once. Every stay is written down with its
times; overlaps on a GPU are counted, and how long each waited is told.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from faq_pipeline.core.resolver import resolve_cell
from faq_pipeline.core.stage import Build, Stage
from faq_pipeline.execution.runner import materialize
from faq_pipeline.models import gpus
from faq_pipeline.models.device import device_gpus
from faq_pipeline.settings import Settings
from faq_pipeline.store.store import Store

SHARE = 2 / 3
MEMBER, RECIPE = "kin-2m", "faq-gptq-w4a16"


def main() -> None:
    """Start the processes and check what they wrote; or (started by itself) be one."""
    options = _options()
    if options.number is not None:
        _ask(options, options.number)
        return
    with TemporaryDirectory() as folder:
        command = [*(sys.executable, "-m", "benchmarks.gpu.rounds"), f"--rounds={options.rounds}"]
        command += [
            f"--hold={options.hold}",
            f"--folder={folder}",
            *(["--pretend"] if options.pretend else []),
        ]
        started = time.monotonic()
        running = [subprocess.Popen([*command, f"--number={n}"]) for n in range(options.processes)]
        codes = [process.wait() for process in running]
        stays = [json.loads(line) for path in sorted(Path(folder).glob("*.jsonl")) for line in path.open()]
        result = {"exit_codes": codes, "seconds": round(time.monotonic() - started, 1), **_judged(stays)}
    print(json.dumps(result), flush=True)
    if options.out:
        options.out.write_text(json.dumps({**result, "stays": stays}, indent=1) + "\n", encoding="utf-8")
    sys.exit(any(codes) or result["overlaps"] > 0)


def _judged(stays: list[dict[str, Any]]) -> dict[str, Any]:
    """Overlaps on a GPU, waits by the number of GPUs, and what the GPUs did."""
    overlaps = 0
    for uuid in sorted({uuid for stay in stays for uuid in stay["gpus"]}):
        ordered = sorted((s for s in stays if uuid in s["gpus"]), key=lambda stay: float(stay["from"]))
        overlaps += sum(later["from"] < one["to"] for one, later in pairwise(ordered))
    found: dict[str, Any] = {"stays": len(stays), "overlaps": overlaps}
    for count in (1, 2):
        waits = sorted(stay["from"] - stay["asked"] for stay in stays if len(stay["gpus"]) == count)
        if waits:
            median, longest = waits[len(waits) // 2], waits[-1]
            found[f"waits for {count}"] = {
                "runs": len(waits),
                "median": round(median, 2),
                "longest": round(longest, 2),
            }
    held = [(stay["to"] - stay["from"]) * len(stay["gpus"]) for stay in stays]
    span = max(stay["to"] for stay in stays) - min(stay["asked"] for stay in stays)
    return {**found, "longest_stay": max(s["to"] - s["from"] for s in stays), "busy": sum(held) / 2 / span}


def _ask(options: argparse.Namespace, number: int) -> None:
    if options.pretend:
        there = tuple(gpus.Gpu(n, f"GPU-{9 - n}", "Fake", 80 * 2**30) for n in range(2))
        gpus.installed_gpus = lambda: there  # type: ignore[assignment]
        os.environ["FAQ_LEASES"] = str(options.folder / "leases")
    else:
        import torch  # noqa: F401 - before the clocks start
    drawn = random.Random(number)
    catalog = Settings.from_environment().catalog
    digests = options.folder / f"digests-{number}"
    cell = resolve_cell(catalog, MEMBER, catalog.recipe(RECIPE), "cuda", digests)
    store, diary = Store(options.folder / "store"), options.folder / f"{number}.jsonl"
    for turn in range(options.rounds):
        count, asked = drawn.randint(1, 2), time.time()

        def build(job: Build, asked: float = asked) -> dict[str, Any]:
            begun = time.time()
            with _full(job.cell.device, options.pretend):
                time.sleep(options.hold)
            held = [gpu.uuid for gpu in device_gpus(job.cell.device)]
            stay = {"asked": asked, "from": begun, "to": time.time(), "gpus": held, "process": number}
            with diary.open("a") as told:
                told.write(json.dumps(stay) + "\n")
            (job.directory / "data").write_text("made")
            return {}

        identity = {"process": number, "turn": turn}
        stage = Stage(
            "quantized_checkpoint",
            1,
            (),
            lambda cell, own=identity: own,  # type: ignore[misc]
            build,
            gpus=lambda cell, count=count: count,  # type: ignore[misc]
        )
        materialize(stage.name, replace(cell), {stage.name: stage}, store)


@contextmanager
def _full(device: str, pretend: bool) -> Iterator[None]:
    """Two thirds of each GPU's memory are taken, and something is computed."""
    if pretend:
        yield
        return
    import torch

    from faq_pipeline.models.device import device_of, torch_device

    taken = []
    for gpu in device_gpus(device):
        place = torch_device(device_of([gpu]))
        taken.append(torch.empty(int(SHARE * gpu.memory), dtype=torch.uint8, device=place))
        matrix = torch.randn(4096, 4096, device=place, dtype=torch.bfloat16)
        (matrix @ matrix).sum().item()
    yield


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--hold", type=float, default=0.2, help="seconds of a stay, beside its computing")
    parser.add_argument("--pretend", action="store_true", help="two GPUs that are not there")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--number", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
