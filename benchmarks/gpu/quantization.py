"""`quantized_checkpoint` beside a bare llmcompressor script on the same model and rows: time and memory.

    python -m benchmarks.gpu.quantization FOLDER [--method gptq] [--rows 128] [--arms ours,bare,bare,ours]
        [--out FILE]

GPTQ or AWQ W4A16 in groups of 128, or SmoothQuant then GPTQ W8A8, on random rows; both arms have the same
options (`METHODS`). Each arm is a fresh process and runs in the order given;
importing libraries is outside the clock of each. `ours` is the stage as a run makes it, in a store of
its own; its `quantize` (load, oneshot, save) is what the bare script (`bare_quantize.py`) does too, the
rest is what the stage adds: the inspection of the checkpoint, digests, the commit to disk. An arm
`bare-unbatched` is the bare script with GPTQ's `batched_quantization` off, as ours has it so that
bytes repeat.

`unkept` is ours without the journal of finished layers; for `ours` the seconds of writing it are told. For
both, anonymous memory (`blocks.anonymous_bytes`) after each block of layers is told too.

`ranks` is ours on two GPUs (`quantization.ranks: 2`), whose parts are not told apart, and `reversed` ours on
one with the rows in the opposite order: with `--keep FOLDER` the checkpoints of these stay there, and the
integer weights that differ from those of `ours` are counted.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from benchmarks.gpu.blocks import Blocks
from faq_pipeline.config.family import Member
from faq_pipeline.config.quantization import Quantization
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.stage import Build
from faq_pipeline.models.device import choose_device
from faq_pipeline.models.weights import Weights
from faq_pipeline.settings import Settings
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.records import TokenRow
from faq_pipeline.store.store import Key, Store
from faq_pipeline.store.tables import write_rows

RECIPE = "faq-gptq-w4a16"
METHODS = {
    "gptq": Quantization(method="gptq", scheme="W4A16", group_size=128, actorder="static"),
    "awq": Quantization(method="awq", scheme="W4A16", group_size=128),
    "smoothquant": Quantization(method="smoothquant", scheme="W8A8", group_size="channel"),
}
"""llmcompressor's own defaults, but for GPTQ's `batched_quantization`."""
OURS = {
    "ours": [],
    "ours-main-memory": ["--no-stay"],
    "unkept": ["--unkept"],
    "ranks": ["--ranks", "2"],
    "reversed": ["--reverse"],
}
"""Arms of ours, with what each is started with."""


def main() -> None:
    """Run the arms, or (started by itself) the one that needs this package."""
    options = _options()
    if options.ours is not None:
        _ours(options.folder, *options.ours, options=options)
        return
    layers = int(json.loads((options.folder / "config.json").read_text())["num_hidden_layers"])
    vocabulary = int(json.loads((options.folder / "config.json").read_text())["vocab_size"])
    draws = random.Random(0)
    rows = [draws.choices(range(vocabulary), k=options.length) for _ in range(options.rows)]
    runs: list[tuple[str, dict[str, Any]]] = []
    for arm in options.arms.split(","):
        found = _run(arm, rows, options)
        runs.append((arm, found))
        print(_line(arm, found, layers), flush=True)
    ratios = _ratios(runs)
    result = {"layers": layers, "runs": [{"arm": arm, **found} for arm, found in runs]}
    result |= {"options": vars(options), "ratios": ratios}
    for name, ratio in ratios.items():
        print(f"{name}: {ratio:.3f}")
    for arm in ("ranks", "reversed"):
        if options.keep and {"ours", arm} <= {path.name for path in options.keep.iterdir()}:
            result[f"{arm} differs"] = differences(options.keep / "ours", options.keep / arm)
            print(f"{arm} differs from ours: {result[f'{arm} differs']}")
    if options.out:
        options.out.write_text(json.dumps(result, indent=1, default=str) + "\n", encoding="utf-8")


def differences(one: Path, other: Path) -> dict[str, Any]:
    """The share of packed 4-bit weights that differ, in all and by layer, and how many other tensors do."""
    import torch
    from safetensors import safe_open

    device = "cuda" if torch.cuda.is_available() else "cpu"
    unequal: dict[str, int] = {}
    total: dict[str, int] = {}
    others = 0
    for path in sorted(one.glob("*.safetensors")):
        with safe_open(path, "pt", device) as first, safe_open(other / path.name, "pt", device) as second:
            for name in first.keys():  # noqa: SIM118 - it is no mapping
                a, b = first.get_tensor(name), second.get_tensor(name)
                if not name.endswith("weight_packed"):
                    others += not torch.equal(a, b)
                    continue
                layer = name.split(".")[2]
                apart = a ^ b
                count = sum(int(((apart >> shift) & 15).ne(0).sum()) for shift in range(0, 32, 4))
                unequal[layer] = unequal.get(layer, 0) + count
                total[layer] = total.get(layer, 0) + 8 * a.numel()
    shares = {layer: round(unequal[layer] / total[layer], 6) for layer in sorted(total, key=int)}
    share = sum(unequal.values()) / max(sum(total.values()), 1)
    return {"weights": round(share, 6), "by_layer": shares, "other_tensors": others}


def _run(arm: str, rows: list[list[int]], options: argparse.Namespace) -> dict[str, Any]:
    """One arm in a process of its own; what it writes goes away with it."""
    with TemporaryDirectory(dir=options.scratch) as temporary:
        place = Path(temporary)
        (place / "rows.json").write_text(json.dumps(rows))
        results = place / "results.json"
        if arm in OURS:
            command = ["-m", "benchmarks.gpu.quantization", options.folder, "--ours", place, results]
            command += OURS[arm]
            command += ["--method", options.method]
            command += ["--keep", options.keep / arm] if options.keep else []
            command += ["--parameters", options.parameters] if options.parameters else []
        else:
            batched = {"bare": "auto", "bare-unbatched": "none"}[arm]
            script = Path(__file__).with_name("bare_quantize.py")
            command = [script, options.folder, place / "rows.json", place / "checkpoint", results, batched]
            command.append(options.method)
        subprocess.run([sys.executable, *map(str, command)], check=True)
        return dict(json.loads(results.read_text(encoding="utf-8")))


def _ours(folder: Path, place: Path, results: Path, *, options: argparse.Namespace) -> None:
    # What the bare script imports before its clock starts.
    import datasets  # noqa: F401
    import torch
    from llmcompressor.modifiers.gptq import GPTQModifier  # noqa: F401
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401

    from faq_pipeline.quantization import compute_device as placement
    from faq_pipeline.quantization import oneshot
    from faq_pipeline.quantization.resuming.journal import Journal
    from faq_pipeline.quantization.stage import QUANTIZED_CHECKPOINT as STAGE

    rows = json.loads((place / "rows.json").read_text())
    rows = rows[::-1] if options.reverse else rows
    write_rows(place / "rows.parquet", [TokenRow(i, ids) for i, ids in enumerate(rows)], TokenRow)
    catalog = Settings.from_environment().catalog
    parameters = options.parameters or _parameters(folder)
    target = Weights(Member(name="shape", path=folder, parameters=parameters), "random", "random")
    cell = Cell(catalog.member("kin-4m")[0], catalog.recipe(RECIPE), target, None, choose_device("auto"))
    spec = METHODS[options.method].model_copy(update={"ranks": options.ranks})
    cell = cell.with_recipe(cell.recipe.model_copy(update={"quantization": spec}))
    store, inputs = Store(place / "store"), {"calibration_set": Artifact(place)}
    spent: dict[str, float] = {}

    def timed(name: str, owner: Any = oneshot) -> Any:
        """`oneshot`'s function of this name, or another's, with a clock that adds up its calls."""
        function = getattr(owner, name)

        def run(*args: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*args, **options)
            finally:
                spent[name] = spent.get(name, 0.0) + time.perf_counter() - started

        return patch.object(owner, name, run)

    progress = Blocks()
    started = time.perf_counter()
    share = patch.object(placement, "SHARE", placement.SHARE if options.stay else 0.0)

    def build(made: Path) -> dict[str, Any]:
        job = Build(cell, inputs, made, place / "ledgers", progress, lambda: store.settle(made))
        if not options.unkept:
            job = replace(job, unfinished=lambda: store.unfinished.claim("benchmark", "benchmark"))
        return STAGE.build(job)

    journal = timed("write", Journal)
    watched = progress.watching()
    with watched, share, timed("quantize"), timed("run"), timed("load_folder"), timed("save"), journal:
        artifact, _ = store.produce(Key(STAGE.name, STAGE.version, "benchmark", {}, {}, {}), build)
    seconds = time.perf_counter() - started
    if options.ranks:  # its processes do these, and are not asked
        spent |= {"load_folder": 0.0, "run": spent["quantize"], "save": 0.0}
    if options.keep:
        shutil.copytree(artifact.file("checkpoint"), options.keep)
    figures = {
        "seconds": spent["quantize"],
        "parts": {
            "load": spent["load_folder"],
            "oneshot": spent["run"] - spent["load_folder"],
            "save": spent["save"],
        },
        "stage_seconds": seconds,
        "journal_seconds": spent.get("write", 0.0),
        "block_seconds": progress.seconds,
        "block_anonymous_bytes": progress.anonymous,
        "anonymous_bytes": progress.peak,
        "gpu_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0,
        "host_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "rtn_fallback": len(artifact.metadata["rtn_fallback"]),
        "ratio": artifact.metadata["ratio"],
        "digest": artifact.manifest.digest,
    }
    results.write_text(json.dumps(figures, indent=1), encoding="utf-8")


def _parameters(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors")) // 2


def _ratios(runs: list[tuple[str, dict[str, Any]]]) -> dict[str, float]:
    """Median of ours over the median of each other arm: `quantize` alone, and the whole stage."""

    def median(arm: str, key: str) -> float:
        return statistics.median(found[key] for name, found in runs if name == arm)

    arms = {arm for arm, _ in runs}
    if "ours" not in arms:
        return {}
    ratios = {}
    for arm in sorted(arms - {"ours"}):
        for key, what in (("seconds", "quantize"), ("stage_seconds", "the whole stage")):
            same = key if arm in OURS else "seconds"  # a bare script is nothing but its quantizing
            ratios[f"{what} over {arm}, time"] = median("ours", key) / median(arm, same)
        for key, what in (("gpu_bytes", "GPU"), ("host_bytes", "host")):
            if median(arm, key):
                ratios[f"ours over {arm}, peak {what} memory"] = median("ours", key) / median(arm, key)
    return ratios


def _line(arm: str, found: dict[str, Any], layers: int) -> str:
    line = f"{arm}: {found['seconds']:.1f} s"
    parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in found["parts"].items())
    line += f" ({parts}; {found['parts']['oneshot'] / layers:.2f} s a layer)"
    if "stage_seconds" in found:
        line += f", the whole stage {found['stage_seconds']:.1f} s, digest {found['digest']}"
        line += f", writing the journal {found['journal_seconds']:.2f} s"
        line += f"; anonymous GB after each block: {_gigabytes(*found['block_anonymous_bytes'])}"
        line += f", at most {_gigabytes(found['anonymous_bytes'])}"
    return (
        f"{line}; peak GPU {found['gpu_bytes'] / 2**30:.2f} GiB, host {found['host_bytes'] / 2**30:.1f} GiB"
    )


def _gigabytes(*sizes: int) -> str:
    return " ".join(f"{size / 1e9:.2f}" for size in sizes)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="made by benchmarks.gpu.shape")
    parser.add_argument("--method", choices=list(METHODS), default="gptq")
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--length", type=int, default=2048, help="tokens of a row")
    parser.add_argument("--unkept", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--arms", default="ours,bare")
    parser.add_argument("--parameters", type=int, help="what it counts as: from 2 billion it stays bf16")
    parser.add_argument("--scratch", type=Path, help="folder on a disk with room for two checkpoints")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--ours", type=Path, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--keep", type=Path, help="folder for the checkpoints of our arms")
    parser.add_argument("--no-stay", dest="stay", action="store_false", help=argparse.SUPPRESS)
    parser.add_argument("--ranks", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--reverse", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
