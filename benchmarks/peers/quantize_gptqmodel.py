"""GPTQModel on token ids of ours; prints one line of JSON. Runs in GPTQModel's environment."""

from __future__ import annotations

import time
from importlib.metadata import version

import torch
from divergence import HeldOut, arguments, read_ids, tell
from gptqmodel import BACKEND, GPTQModel, QuantizeConfig
from transformers import AutoModelForCausalLM

args = arguments()
rows = read_ids(args.rows)
dense = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
held_out = HeldOut(dense, args.prose, args.replies)
started = time.perf_counter()
config = QuantizeConfig(bits=args.bits, group_size=args.group_size, sym=True, device="cpu")
model = GPTQModel.load(args.model, config)
model.quantize([{"input_ids": row, "attention_mask": [1] * len(row)} for row in rows], batch_size=1)
model.save(str(args.out))
quantized = GPTQModel.load(str(args.out), device="cpu", backend=BACKEND.TORCH)
tell(f"GPTQModel {version('gptqmodel')}", len(rows), held_out.mean_kl(quantized.model), started)
