"""One member from start to end: train, save, evaluate, describe."""

from __future__ import annotations

import json
import platform
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import transformers

from training import card, evaluate, model
from training.settings import TOKENIZER, Plan, settings
from training.train import Run, train

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def make_member(
    name: str,
    out: Path,
    device: torch.device,
    *,
    workers: int,
    tokens: int | None = None,
    max_minutes: float | None = None,
    questions: int = 1500,
    compile_model: bool = True,
    tokenizer: Path = TOKENIZER,
) -> Path:
    """Make out/name: weights, configuration, tokenizer, training.json and the model card."""
    plan: Plan = settings().plans[name]
    if tokens is not None:
        plan = replace(plan, tokens=tokens)
    trained, run = train(name, plan, tokenizer, device, workers, max_minutes, compile_model)
    folder = out / name
    model.save(trained, folder)
    for file in TOKENIZER_FILES:
        shutil.copyfile(tokenizer / file, folder / file)
    record: dict[str, Any] = {
        **asdict(run),
        "parameters": sum(p.numel() for p in trained.parameters()),
        "rows": plan.rows,
        "row_tokens": settings().row_tokens,
        "learning_rate": plan.lr,
        "seed": settings().seed,
        "mix": asdict(settings().mix),
        "software": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }
    _write(folder, record)  # kept even if the evaluation fails
    print(f"{name}: trained in {run.seconds:.0f} s, loss {run.final_loss:.4f}", flush=True)
    del trained
    record["evaluation"] = evaluate.evaluate(folder, device, questions)
    _write(folder, record)
    card.write(folder)
    _tell(run, record["evaluation"])
    return folder


def _tell(run: Run, score: dict[str, Any]) -> None:
    for task, result in score["tasks"].items():
        print(f"{run.member}: {task} {result['accuracy']:.3f} {result['levels']}", flush=True)
    print(
        f"RESULT {run.member} accuracy {score['accuracy']:.4f} on {score['questions']} questions,"
        f" {score['mean_tokens']} tokens each, finished {score['finished']:.3f},"
        f" loss {run.final_loss:.4f}, {run.tokens / 1e6:.0f} M tokens in {run.seconds:.0f} s",
        flush=True,
    )


def _write(folder: Path, record: dict[str, Any]) -> None:
    text = json.dumps(record, indent=1, ensure_ascii=False)
    (folder / "training.json").write_text(text + "\n", encoding="utf-8")
