"""Other quantizers beside ours on kin-4m and our calibration sets, on a CPU; `make peers`.

auto-round and GPTQModel get environments of their own in `.peers/`; `PIP_ARGS` are handed to pip.
llmcompressor's GPTQ runs as in its examples, in float32 and in memory; our gptq with the settings of our
recipes, and our autoround with as many steps as auto-round here. The sets are those of
the demo: FAQ's and the original data raw, exported by `faq export --to parquet`. Printed is the mean KL
divergence from the unquantized model on held-out prose and on its own replies, for each peer and set, with
seconds by the clock and peak memory. One draw.

    python -m benchmarks.peers [BITS]
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "benchmarks/peers"
ENVIRONMENTS = Path(os.environ.get("FAQ_PEERS", ROOT / ".peers"))
MEMBER, RECIPES = "kin-4m", ("original-raw-gptq-w3a16", "faq-one-gptq-w3a16")
PEERS = {
    "auto-round": (["auto-round==0.16.*"], "quantize_auto_round.py"),
    "gptqmodel": (["gptqmodel==7.7.*"], "quantize_gptqmodel.py"),
    "llmcompressor": ([], "quantize_llmcompressor.py"),
    "gptq": ([], "quantize_ours.py"),
    "autoround": ([], "quantize_ours.py"),
}
"""Packages, none for what runs in this environment, and the script; ours are named as the method."""
PASSAGES = 64


def main() -> None:
    """Install the peers, export the sets, quantize, and print a line for each."""
    bits = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        prose, replies = folder / "prose.jsonl", folder / "replies.jsonl"
        _write_prose(prose)
        _faq("run", "--member", MEMBER, "--recipe", RECIPES[-1])
        _write_replies(replies)
        for name, (packages, script) in PEERS.items():
            python = _environment(ENVIRONMENTS / name, packages) if packages else Path(sys.executable)
            for recipe in RECIPES:
                rows, out = _rows(recipe, folder), folder / f"{name}-{recipe}"
                found = _quantize(name, python, HERE / script, rows, prose, replies, out, bits)
                kl = ", ".join(f"{1000 * value:.2f}e-3 on {kind}" for kind, value in found["kl"].items())
                print(
                    f"{found['peer']}, {bits} bits, groups of 128, {recipe}: KL a token {kl};"
                    f" {found['rows']} rows, {found['seconds']} s, {found['memory'] / 1e9:.1f} GB",
                    flush=True,
                )


def _environment(folder: Path, packages: list[str]) -> Path:
    """The interpreter of an environment with these packages."""
    python = folder / "bin/python"
    if not (folder / ".ready").is_file():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", *shlex.split(os.environ.get("PIP_ARGS", ""))]
        # GPTQModel is built from source and asks for torch then; without CUDA it needs no compiler.
        subprocess.run([*pip, "torch", "setuptools", "wheel", "packaging", "numpy"], check=True)
        settings = {**os.environ, "BUILD_CUDA_EXT": "0"}
        subprocess.run([*pip, "--no-build-isolation", *packages], check=True, env=settings)
        (folder / ".ready").touch()
    return python


def _rows(recipe: str, folder: Path) -> Path:
    """The calibration set's rows of token ids."""
    import pyarrow.parquet as pq

    path = folder / f"{recipe}.jsonl"
    if not path.is_file():
        _faq("export", f"{MEMBER}|{recipe}", str(folder / recipe), "--to", "parquet")
        rows = pq.read_table(folder / recipe / "calibration.parquet").column("input_ids").to_pylist()
        _write(path, rows)
    return path


def _write_prose(path: Path) -> None:
    """Token ids of held-out prose."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(ROOT / f"data/models/{MEMBER}")
    lines = (ROOT / "data/eval/kin/prose.jsonl").read_text(encoding="utf-8").splitlines()[:PASSAGES]
    _write(path, [tokenizer(json.loads(line)["text"])["input_ids"][:256] for line in lines])


def _write_replies(path: Path) -> None:
    """Token ids of the model's own replies to development prompts, which no calibration set holds."""
    import pyarrow.parquet as pq

    from faq_pipeline.execution.cell_resolver import CellResolver
    from faq_pipeline.execution.graph import STAGES
    from faq_pipeline.execution.runner import plan
    from faq_pipeline.settings import Settings

    settings = Settings.from_environment()
    cell = CellResolver(settings).cell(MEMBER, RECIPES[-1])
    traces = plan(cell, STAGES, settings.store)["inference_traces"].artifact
    assert traces is not None
    _write(path, pq.read_table(traces.file("traces.parquet")).column("input_ids").to_pylist())


def _write(path: Path, rows: list[list[int]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _quantize(
    name: str, python: Path, script: Path, rows: Path, prose: Path, replies: Path, out: Path, bits: int
) -> dict[str, Any]:
    given = ["--model", ROOT / f"data/models/{MEMBER}", "--rows", rows, "--out", out]
    given += ["--prose", prose, "--replies", replies, "--bits", str(bits)]
    # GPTQModel takes one worker on two cores, and asks for two.
    settings = {**os.environ, "GPTQMODEL_CPU_WORKERS": "2", "METHOD": name}
    done = subprocess.run(
        [python, script, *given], stdout=subprocess.PIPE, text=True, check=True, env=settings, cwd=rows.parent
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _faq(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "faq_pipeline", *arguments], check=True, stdout=sys.stderr)


if __name__ == "__main__":
    main()
