"""Our recipes' settings on the same token ids; prints one line of JSON. METHOD is gptq or autoround."""

from __future__ import annotations

import os
import time
from pathlib import Path

from divergence import HeldOut, arguments, read_ids, tell
from transformers import AutoModelForCausalLM

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
held_out = HeldOut(
    AutoModelForCausalLM.from_pretrained(args.model, dtype="float32"), args.prose, args.replies
)
started = time.perf_counter()
member = Member(name="member", path=Path(args.model), parameters=1)
weights = find_weights(member, args.out / "digests")
spec = Quantization(method=method, scheme=f"W{args.bits}A16", group_size=args.group_size, **SETTINGS[method])
quantize(spec, weights, rows, args.out / "checkpoint", "cpu", SilentProgress())
model = load_quantized(args.out / "checkpoint", member, "cpu")
tell(f"faq_pipeline, {method}", len(rows), held_out.mean_kl(model.float()), started)
