"""What each quantizer's script is given, and what it gives back; runs in that quantizer's environment."""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig


def arguments() -> argparse.Namespace:
    """A model folder, calibration rows of token ids (JSONL), bits, a device, and an empty output folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--bits", type=int, default=3)
    parser.add_argument("--group-size", type=int, default=128)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def read_ids(path: Path) -> list[list[int]]:
    """Token ids, a row in each line."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def report(args: argparse.Namespace, peer: str, rows: int, started: float) -> None:
    """Write what a peer made to `report.json`: seconds by the clock, and peak memory in bytes.

    The memory is that of the GPU if one was used.
    Called before `write_weights`, which is no part of what the peer takes.
    """
    memory = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if args.device.startswith("cuda"):
        memory = torch.cuda.max_memory_allocated(args.device)
    seconds = round(time.perf_counter() - started, 1)
    args.out.mkdir(parents=True, exist_ok=True)
    found = {"peer": peer, "rows": rows, "seconds": seconds, "memory": memory}
    (args.out / "report.json").write_text(json.dumps(found), encoding="utf-8")


@torch.inference_mode()
def write_weights(model: Any, source: str, folder: Path) -> None:
    """The rounded weights in the unquantized model's own form, float32.

    Args:
        model: a quantized model whose linear layers have the names of the unquantized one, and either hold
            their rounded weights as they are or have `dequantize_weight()` (of shape (in, out)).
    """
    dense = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    theirs = dict(model.named_modules())
    for name, layer in dense.named_modules():
        if isinstance(layer, torch.nn.Linear):
            found = theirs[name]
            packed = getattr(found, "dequantize_weight", None)
            layer.weight.copy_(found.weight if packed is None else packed().T)  # also from a GPU
    # Some models are published with generation settings that transformers refuses to save.
    dense.generation_config = GenerationConfig.from_model_config(dense.config)
    dense.save_pretrained(folder)
    if (settings := Path(source) / "generation_config.json").is_file():
        shutil.copy(settings, folder)
