"""Bare llmcompressor, as its examples show it. What `quantized_checkpoint` is measured against.

    python bare_quantize.py FOLDER ROWS.json CHECKPOINT RESULTS.json [BATCHED] [METHOD]

Imports nothing of this repository; `gpu.quantization` starts it. `BATCHED` is GPTQModifier's
`batched_quantization`: its own default, `auto`, or `none` as ours has it. `METHOD` is `gptq`, `awq` or
`smoothquant`, with the options that `gpu.quantization` gives our arm.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any


def modifiers(method: str, batched: str) -> list[Any]:
    """llmcompressor's modifiers of a method."""
    from compressed_tensors.quantization import preset_name_to_scheme
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier
    from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

    name = "W8A8" if method == "smoothquant" else "W4A16"  # W4A16: groups of 128
    scheme: Any = {
        "config_groups": {"group_0": preset_name_to_scheme(name, ["Linear"])},
        "ignore": ["lm_head"],
    }
    if method == "awq":
        return [AWQModifier(duo_scaling=True), QuantizationModifier(**scheme)]
    choice: dict[str, Any] = {} if batched == "auto" else {"batched_quantization": None}
    if method == "smoothquant":
        return [SmoothQuantModifier(smoothing_strength=0.5), GPTQModifier(actorder=None, **scheme, **choice)]
    return [GPTQModifier(actorder="static", **scheme, **choice)]


def main(
    folder: str, rows_file: str, checkpoint: str, results: str, batched: str = "auto", method: str = "gptq"
) -> None:
    """Load, quantize, save; each timed."""
    import torch
    from datasets import Dataset
    from llmcompressor import oneshot
    from transformers import AutoModelForCausalLM, AutoTokenizer

    rows, recipe = json.loads(Path(rows_file).read_text()), modifiers(method, batched)
    marks = [time.perf_counter()]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    marks.append(time.perf_counter())
    oneshot(
        model=model,
        processor=tokenizer,
        recipe=recipe,
        dataset=Dataset.from_dict({"input_ids": rows}),
        batch_size=1,
        num_calibration_samples=len(rows),
        shuffle_calibration_samples=False,
        max_seq_length=max(map(len, rows)),
    )
    marks.append(time.perf_counter())
    model.save_pretrained(checkpoint, save_compressed=True)
    tokenizer.save_pretrained(checkpoint)
    marks.append(time.perf_counter())
    gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    names = ("load", "oneshot", "save")
    parts = {name: end - start for name, start, end in zip(names, marks, marks[1:], strict=False)}
    figures = {"seconds": marks[-1] - marks[0], "parts": parts, "gpu_bytes": gpu, "host_bytes": host}
    Path(results).write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
