"""auto-round and GPTQModel quantize kin-4m on our calibration sets, on a CPU; `make peers`.

Each peer gets an environment of its own in `.peers/`; `PIP_ARGS` are handed to pip. The sets are those of
the demo: FAQ's and the original data raw, exported by `faq export --to parquet`. Printed is the mean KL
divergence from the unquantized model on held-out prose and on its own replies, for each peer and set.
One draw: a demonstration.
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
}
PASSAGES = 64


def main() -> None:
    """Install the peers, export the sets, quantize, and print a line for each."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        prose, replies = folder / "prose.jsonl", folder / "replies.jsonl"
        _write_prose(prose)
        _faq("run", "--member", MEMBER, "--recipe", RECIPES[-1])
        _write_replies(replies)
        for name, (packages, script) in PEERS.items():
            python = _environment(ENVIRONMENTS / name, packages)
            for recipe in RECIPES:
                rows = _rows(recipe, folder)
                told = _quantize(python, HERE / script, rows, prose, replies, folder / f"{name}-{recipe}")
                kl = ", ".join(f"{1000 * value:.2f}e-3 on {kind}" for kind, value in told["kl"].items())
                print(
                    f"{told['peer']}, 3 bits, groups of 128, {recipe}: KL a token {kl};"
                    f" {told['rows']} rows, {told['seconds']} s",
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
    python: Path, script: Path, rows: Path, prose: Path, replies: Path, out: Path
) -> dict[str, Any]:
    given = ["--model", ROOT / f"data/models/{MEMBER}", "--rows", rows, "--out", out]
    given += ["--prose", prose, "--replies", replies]
    settings = {**os.environ, "GPTQMODEL_CPU_WORKERS": "2"}  # it takes one on two cores, and asks for two
    done = subprocess.run(
        [python, script, *given], stdout=subprocess.PIPE, text=True, check=True, env=settings, cwd=rows.parent
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _faq(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "faq_pipeline", *arguments], check=True, stdout=sys.stderr)


if __name__ == "__main__":
    main()
