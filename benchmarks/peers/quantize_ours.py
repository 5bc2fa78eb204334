"""Our recipes' settings on the same token ids. METHOD is gptq or autoround."""

from __future__ import annotations

import os
import time
from pathlib import Path

from protocol import arguments, read_ids, report, write_weights

from faq_pipeline.config.family import Member
from faq_pipeline.config.quantization import Quantization
from faq_pipeline.models.weights import find_weights
from faq_pipeline.quantization.load import load_quantized
from faq_pipeline.quantization.oneshot import quantize
from faq_pipeline.util.progress import SilentProgress

SETTINGS = {
    "gptq": {"observer": "imatrix", "actorder": "static", "dampening": 0.1},
    "autoround": {"iterations": 50},
}
args = arguments()
method = os.environ["METHOD"]
rows = read_ids(args.rows)
started = time.perf_counter()
member = Member(name="member", path=Path(args.model), parameters=1)
weights = find_weights(member, args.out / "digests")
spec = Quantization(method=method, scheme=f"W{args.bits}A16", group_size=args.group_size, **SETTINGS[method])
quantize(spec, weights, rows, args.out / "checkpoint", args.device, SilentProgress())
report(args, f"faq_pipeline, {method}", len(rows), started)
model = load_quantized(args.out / "checkpoint", member, "cpu")
write_weights(model.float(), args.model, args.out / "weights")
