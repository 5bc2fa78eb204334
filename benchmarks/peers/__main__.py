"""Other quantizers beside ours on the same calibration sets; `make peers` takes kin-4m on a CPU.

auto-round and GPTQModel get environments of their own in `.peers/`; `PIP_ARGS` are handed to pip.
llmcompressor's GPTQ runs as in its examples, in float32 and in memory; our gptq with the settings of our
recipes, and our autoround with as many steps as auto-round here. The sets are those of the recipes, by
default FAQ's and the original data raw. All are judged alike, from their rounded weights in float32: mean
KL divergence from the unquantized model on held-out prose and on its own replies to development prompts,
which no calibration set holds, and with `--questions` the points lost on the last recipe's evaluation
questions. Printed with them are seconds by the clock and peak memory of quantizing. One draw.

    python -m benchmarks.peers [--bits 3] [--member kin-4m] [--recipes A,B] [--peers gptqmodel,gptq]
        [--questions] [--device cuda:0]
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

from transformers import PreTrainedModel

from benchmarks.member_data import Data, read_data
from faq_pipeline import resolve
from faq_pipeline.core.cell import Cell
from faq_pipeline.evaluation.harness import answer_questions
from faq_pipeline.evaluation.paired import compare_paired
from faq_pipeline.models.divergence import mean_divergence
from faq_pipeline.models.loading import in_precision, load_folder, load_tokenizer
from faq_pipeline.store.records import Answer
from faq_pipeline.util.progress import SilentProgress

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
    parser.add_argument(
        "--device", default=os.environ.get("FAQ_DEVICE", "cpu"), help="quantizes and judges: cpu, cuda:0"
    )
    parser.add_argument("--questions", action="store_true", help="both models answer questions, too")
    options = parser.parse_args()
    os.environ["FAQ_DEVICE"] = options.device  # of the calibration sets' models too
    sets = {recipe: read_data(options.member, recipe) for recipe in options.recipes.split(",")}
    # Of all sets the same held-out texts and questions: those of the last recipe.
    cell = resolve(options.member, list(sets)[-1])
    judge = Judge(cell, list(sets.values())[-1], options.device, options.questions)
    for name in options.peers.split(","):
        packages, script = PEERS[name]
        python = _environment(ENVIRONMENTS / name, packages) if packages else Path(sys.executable)
        for recipe, data in sets.items():
            with tempfile.TemporaryDirectory() as made:
                folder = Path(made)
                rows = _write(folder / "rows.jsonl", data.rows)
                given = ["--model", data.weights.folder, "--rows", rows, "--bits", str(options.bits)]
                given += ["--device", options.device]
                found = _quantize(name, python, HERE / script, given, folder / "out")
                judged = judge.judge(folder / "out/weights")
            print(
                f"{found['peer']}, {options.bits} bits, groups of 128, {recipe}: {judged};"
                f" {found['rows']} rows, {found['seconds']} s, {found['memory'] / 1e9:.1f} GB",
                flush=True,
            )


class Judge:
    """The unquantized model, and what quantized ones are compared with it on."""

    def __init__(self, cell: Cell, data: Data, device: str, questions: bool) -> None:
        """Its own answers are asked for here."""
        self._cell, self._device = cell, device
        self._texts = {"prose": [row[:LONGEST] for row in data.prose[:PASSAGES]], "replies": data.all_traces}
        self._model = self._load(data.weights.folder)
        self._tokenizer = load_tokenizer(data.weights)
        self._answers = self._answer(self._model) if questions else None

    def judge(self, folder: Path) -> str:
        """Divergence and points lost of a model folder, in words."""
        model = self._load(folder)
        kl = {kind: 1000 * mean_divergence(self._model, model, rows) for kind, rows in self._texts.items()}
        told = "KL a token " + ", ".join(f"{value:.2f}e-3 on {kind}" for kind, value in kl.items())
        if self._answers is None:
            return told
        both = compare_paired(self._answers, self._answer(model))
        lost, right = both.loss, both.reference.value
        return (
            f"{told}; {100 * lost.value:.1f} points [{100 * lost.low:.1f}, {100 * lost.high:.1f}] lost of"
            f" {100 * right:.1f} on {both.questions} questions"
        )

    def _load(self, folder: Path) -> PreTrainedModel:
        return in_precision(load_folder(folder, self._device), "float32")

    def _answer(self, model: PreTrainedModel) -> list[Answer]:
        spec, thinking = self._cell.recipe.evaluation, self._cell.family.thinking
        given = answer_questions(model, self._tokenizer, spec, thinking, SilentProgress())
        return [one.answer for one in given]


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


def _quantize(
    name: str, python: Path, script: Path, given: Sequence[str | Path], out: Path
) -> dict[str, Any]:
    """What a peer's script reports, run in a folder that it may fill with files."""
    # GPTQModel takes one worker on two cores, and asks for two.
    settings = {**os.environ, "GPTQMODEL_CPU_WORKERS": "2", "METHOD": name}
    command = [python, script, *given, "--out", out]
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(command, stdout=sys.stderr, check=True, env=settings, cwd=scratch)
    found: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return found


if __name__ == "__main__":
    main()
