"""Bare llmcompressor: GPTQ as its examples show it. What `quantized_checkpoint` is measured against.

    python bare_quantize.py FOLDER ROWS.json CHECKPOINT RESULTS.json [BATCHED]

Imports nothing of this repository; `gpu.quantization` starts it. `BATCHED` is GPTQModifier's
`batched_quantization`: its own default, `auto`, or `none` as ours has it.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any


def main(folder: str, rows_file: str, checkpoint: str, results: str, batched: str = "auto") -> None:
    """Load, quantize, save; each timed."""
    import torch
    from compressed_tensors.quantization import preset_name_to_scheme
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.gptq import GPTQModifier
    from transformers import AutoModelForCausalLM, AutoTokenizer

    rows = json.loads(Path(rows_file).read_text())
    marks = [time.perf_counter()]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    marks.append(time.perf_counter())
    scheme: Any = preset_name_to_scheme("W4A16", ["Linear"])  # groups of 128
    choice: dict[str, Any] = {} if batched == "auto" else {"batched_quantization": None}
    recipe = GPTQModifier(config_groups={"group_0": scheme}, ignore=["lm_head"], actorder="static", **choice)
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
