"""Loads a delivered checkpoint as its users do.

python -m tests.fresh.look transformers FOLDER           one reply, greedy, with transformers
python -m tests.fresh.look vllm FOLDER URL PID           one reply of the vLLM server that serves it
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

PROMPT = "Mira has 12 apples and gives 5 away. How many remain?"
TOKENS = 16
PATIENCE = 600.0
"""Seconds that a server has to start."""


def with_transformers(folder: Path) -> str:
    """A reply of the checkpoint, which must be quantized and hold a card."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert (folder / "README.md").read_text(encoding="utf-8").startswith("---\n"), "no model card"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.config.quantization_config is not None, "not quantized"
    turns = [{"role": "user", "content": PROMPT}]
    ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert torch.isfinite(model(ids).logits).all(), "logits are not finite"
        made = model.generate(ids, max_new_tokens=TOKENS, do_sample=False)
    return str(tokenizer.decode(made[0, ids.shape[1] :]))


def with_vllm(folder: Path, url: str, process: int) -> str:
    """A reply of the server to the same prompt, once it is up.

    Raises:
        OSError: it is not up after `PATIENCE`, or its process is gone.
    """
    began = time.monotonic()
    while True:
        try:
            urllib.request.urlopen(f"{url}/health", timeout=5).close()
            break
        except (urllib.error.URLError, OSError):
            if time.monotonic() - began > PATIENCE:
                raise
            os.kill(process, 0)
            time.sleep(1)
    body = {
        "model": str(folder),
        "messages": [{"role": "user", "content": PROMPT}],
        "max_tokens": TOKENS,
        "temperature": 0,
    }
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        told = json.load(answer)
    assert told["usage"]["completion_tokens"] > 0, told
    return str(told["choices"][0]["message"]["content"])


if __name__ == "__main__":
    kind, folder, *rest = sys.argv[1:]
    place = Path(folder).absolute()
    print(
        repr(with_transformers(place) if kind == "transformers" else with_vllm(place, rest[0], int(rest[1])))
    )
