"""llmcompressor's GPTQ as its examples have it, on token ids of ours. It uses a GPU where there is one."""

from __future__ import annotations

import time
from importlib.metadata import version

from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.gptq import GPTQModifier
from protocol import arguments, read_ids, report, write_weights
from transformers import AutoModelForCausalLM, AutoTokenizer

args = arguments()
rows = read_ids(args.rows)
started = time.perf_counter()
model = AutoModelForCausalLM.from_pretrained(args.model, dtype="float32")
weights = QuantizationArgs(num_bits=args.bits, group_size=args.group_size, strategy="group", symmetric=True)
scheme = QuantizationScheme(targets=["Linear"], weights=weights)
oneshot(
    model=model,
    processor=AutoTokenizer.from_pretrained(args.model),
    recipe=GPTQModifier(config_groups={"group_0": scheme}, ignore=["lm_head"]),
    dataset=Dataset.from_dict({"input_ids": rows}),
    batch_size=1,
    num_calibration_samples=len(rows),
    max_seq_length=max(map(len, rows)),
)
report(args, f"llmcompressor {version('llmcompressor')}", len(rows), started)
write_weights(model.float(), args.model, args.out / "weights")
