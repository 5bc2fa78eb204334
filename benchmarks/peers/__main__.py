"""Other quantizers beside ours on the same calibration sets, on a CPU; `make peers` takes kin-4m.

auto-round and GPTQModel get environments of their own in `.peers/`; `PIP_ARGS` are handed to pip.
llmcompressor's GPTQ runs as in its examples, in float32 and in memory; our gptq with the settings of our
recipes, and our autoround with as many steps as auto-round here. The sets are those of the recipes, by
default FAQ's and the original data raw. Printed is the mean KL divergence from the unquantized model on
held-out prose and on its own replies to development prompts, which no calibration set holds, for each
peer and set, with seconds by the clock and peak memory. One draw.

    python -m benchmarks.peers [--bits 3] [--member kin-4m] [--recipes A,B] [--peers gptqmodel,gptq]
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.member_data import read_data

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "benchmarks/peers"
ENVIRONMENTS = Path(os.environ.get("FAQ_PEERS", ROOT / ".peers"))
RECIPES = "original-raw-gptq-w3a16,faq-one-gptq-w3a16"
PEERS = {
    "auto-round": (["auto-round==0.16.*"], "quantize_auto_round.py"),
    "gptqmodel": (["gptqmodel==7.7.*"], "quantize_gptqmodel.py"),
    "llmcompressor": ([], "quantize_llmcompressor.py"),
    "gptq": ([], "quantize_ours.py"),
    "autoround": ([], "quantize_ours.py"),
}
"""Packages, none for what runs in this environment, and the script; ours are named as the method."""
PASSAGES, LONGEST = 64, 256
"""Of prose: how many at most, and of how many tokens."""


def main() -> None:
    """Install the peers, make the sets, quantize, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bits", type=int, default=3)
    parser.add_argument("--member", default="kin-4m")
    parser.add_argument("--recipes", default=RECIPES)
    parser.add_argument("--peers", default=",".join(PEERS))
    options = parser.parse_args()
    sets = {recipe: read_data(options.member, recipe) for recipe in options.recipes.split(",")}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        # Of both sets the same held-out texts: those of the last recipe.
        held_out = list(sets.values())[-1]
        prose = _write(folder / "prose.jsonl", [row[:LONGEST] for row in held_out.prose[:PASSAGES]])
        replies = _write(folder / "replies.jsonl", held_out.all_traces)
        for name in options.peers.split(","):
            packages, script = PEERS[name]
            python = _environment(ENVIRONMENTS / name, packages) if packages else Path(sys.executable)
            for recipe, data in sets.items():
                rows = _write(folder / f"{recipe}.jsonl", data.rows)
                given = ["--model", data.weights.folder, "--rows", rows, "--bits", str(options.bits)]
                given += ["--prose", prose, "--replies", replies, "--out", folder / f"{name}-{recipe}"]
                found = _quantize(name, python, HERE / script, given)
                kl = ", ".join(f"{1000 * value:.2f}e-3 on {kind}" for kind, value in found["kl"].items())
                print(
                    f"{found['peer']}, {options.bits} bits, groups of 128, {recipe}: KL a token {kl};"
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


def _write(path: Path, rows: Sequence[Sequence[int]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _quantize(name: str, python: Path, script: Path, given: Sequence[str | Path]) -> dict[str, Any]:
    """What a peer's script says, run in a folder that it may fill with files."""
    # GPTQModel takes one worker on two cores, and asks for two.
    settings = {**os.environ, "GPTQMODEL_CPU_WORKERS": "2", "METHOD": name}
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(
            [python, script, *given], stdout=subprocess.PIPE, text=True, check=True, env=settings, cwd=scratch
        )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
