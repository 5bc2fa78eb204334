"""Requests of equal length for the shapes of `gpu.shape`: prompts of random words, one token each."""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from pathlib import Path

from faq_pipeline.inference.engine import Request
from faq_pipeline.util.seeded_choice import hashed

BYTES = 256
"""Tokens of the shapes' vocabulary that are no words."""


def make_requests(folder: Path, name: str, prompts: int, length: int, candidates: int) -> list[Request]:
    """`prompts` x `candidates` requests. Another `name` gives other prompts and other seeds.

    Args:
        folder: a shape's folder; its tokenizer makes exactly `length` tokens of each prompt.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    draws = random.Random(name)
    requests = []
    for index in range(prompts):
        ids = draws.choices(range(BYTES, len(tokenizer)), k=length)
        prompt = str(tokenizer.decode(ids))
        assert tokenizer(prompt, add_special_tokens=False)["input_ids"] == ids
        requests += [
            Request(f"{name}-{index}#{position}", prompt, hashed("benchmark", name, index, position))
            for position in range(candidates)
        ]
    return requests


def write_requests(path: Path, requests: list[Request]) -> None:
    """As JSON lines, for a process that does not know this package."""
    lines = (json.dumps(asdict(request)) + "\n" for request in requests)
    path.write_text("".join(lines), encoding="utf-8")
