"""auto-round on token ids of ours. Runs in auto-round's environment."""

from __future__ import annotations

import time
from importlib.metadata import version

import torch
from auto_round import AutoRound
from protocol import arguments, read_ids, report, write_weights
from transformers import AutoModelForCausalLM, AutoTokenizer

args = arguments()
rows = read_ids(args.rows)
length = max(map(len, rows))
# auto-round leaves out rows that are shorter than the longest, so the same tokens are cut anew.
tokens = [token for row in rows for token in row]
full = [torch.tensor([tokens[i : i + length]]) for i in range(0, len(tokens) - length + 1, length)]
tokenizer = AutoTokenizer.from_pretrained(args.model)
model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
started = time.perf_counter()
rounded, _ = AutoRound(
    model,
    tokenizer,
    bits=args.bits,
    group_size=args.group_size,
    sym=True,
    dataset=full,
    seqlen=length,
    nsamples=len(full),
    iters=50,
    batch_size=4,
    device_map=args.device,
    enable_torch_compile=False,
).quantize()
report(args, f"auto-round {version('auto-round')}", len(full), started)
write_weights(rounded.float(), args.model, args.out / "weights")
