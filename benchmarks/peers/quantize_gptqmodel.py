"""GPTQModel on token ids of ours. Runs in GPTQModel's environment."""

from __future__ import annotations

import time
from importlib.metadata import version

from gptqmodel import BACKEND, GPTQModel, QuantizeConfig
from protocol import arguments, read_ids, report, write_weights

args = arguments()
rows = read_ids(args.rows)
started = time.perf_counter()
config = QuantizeConfig(bits=args.bits, group_size=args.group_size, sym=True, device=args.device)
model = GPTQModel.load(args.model, config)
model.quantize([{"input_ids": row, "attention_mask": [1] * len(row)} for row in rows], batch_size=1)
model.save(str(args.out / "packed"))
report(args, f"GPTQModel {version('gptqmodel')}", len(rows), started)
quantized = GPTQModel.load(str(args.out / "packed"), device="cpu", backend=BACKEND.TORCH)
write_weights(quantized.model, args.model, args.out / "weights")
