"""Greedy accuracy with chain-of-thought, per task and level."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from training import record
from training.model import Model
from training.packing import plain_folder
from training.questions import balanced
from training.settings import family_of

_ANSWER = re.compile(r"Answer: *(.+)")
NEW_TOKENS = 240


def read_answer(text: str) -> str | None:
    """The first answer that a completion states, as the evaluation tasks read it."""
    found = _ANSWER.search(text)
    return found.group(1).strip() if found else None


@torch.inference_mode()
def complete(
    model: Model, tokenizer: Any, questions: list[str], batch: int, switch: str
) -> list[tuple[str, int]]:
    """Greedy completions in the chat template, reasoning on, with their lengths in tokens."""
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": q}], tokenize=False, add_generation_prompt=True, **{switch: True}
        )
        for q in questions
    ]
    by_length = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    results: list[tuple[str, int]] = [("", 0)] * len(prompts)
    for start in range(0, len(by_length), batch):
        chosen = by_length[start : start + batch]
        inputs = tokenizer(
            [prompts[i] for i in chosen],
            return_tensors="pt",
            padding=True,
            padding_side="left",
            add_special_tokens=False,
        ).to(model.device)
        output = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            do_sample=False,
            max_new_tokens=NEW_TOKENS,
        )
        new = output[:, inputs["input_ids"].shape[1] :]
        for i, ids in zip(chosen, new, strict=True):
            length = int((ids != tokenizer.pad_token_id).sum())
            results[i] = (tokenizer.decode(ids, skip_special_tokens=True), length)
    return results


def evaluate(
    folder: Path, device: torch.device, count: int, split: str = "development", batch: int = 512
) -> dict[str, Any]:
    """Accuracy of a saved member on balanced questions, in the form training.json keeps."""
    begun = time.monotonic()
    cuda = device.type == "cuda"
    dtype = torch.bfloat16 if cuda else torch.float32
    settings = family_of(record.read(folder)["member"])
    with plain_folder(folder) as plain:
        model = AutoModelForCausalLM.from_pretrained(str(plain), dtype=dtype).eval()
        model.to(device)
        tokenizer = AutoTokenizer.from_pretrained(str(plain))
    problems = balanced(settings, split, count)
    outputs = complete(model, tokenizer, [p.question for p in problems], batch, settings.chat.switch)
    cells: dict[str, dict[int, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for problem, (text, _) in zip(problems, outputs, strict=True):
        right = read_answer(text) == problem.answer
        cells[problem.task][problem.level].append(right)
    every = [hit for levels in cells.values() for hits in levels.values() for hit in hits]
    lengths = [length for _, length in outputs]
    return {
        "split": split,
        "questions": len(problems),
        "accuracy": round(sum(every) / len(every), 4),
        "finished": round(sum(n < NEW_TOKENS for n in lengths) / len(lengths), 4),
        "mean_tokens": round(sum(lengths) / len(lengths), 1),
        "seconds": round(time.monotonic() - begun, 1),
        "tasks": {
            task: {
                "accuracy": round(sum(map(sum, levels.values())) / sum(map(len, levels.values())), 4),
                "levels": {
                    str(level): round(sum(hits) / len(hits), 4) for level, hits in sorted(levels.items())
                },
            }
            for task, levels in sorted(cells.items())
        },
    }
