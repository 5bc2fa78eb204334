"""One member from start to end: train, save, evaluate, describe."""

from __future__ import annotations

import platform
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import transformers

from training import evaluate, model, record
from training.settings import Member, Plan, Settings, family_of
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
    tokenizer: Path | None = None,
    beside: int = 0,
) -> Path:
    """Make out/name: weights, configuration, tokenizer, training.json and the model card.

    Args:
        questions: to evaluate on; with 0 the evaluation is left for later.
        tokenizer: a folder; that of the family where absent.
        beside: how many other members the device is shared with, for the record.
    """
    settings = family_of(name)
    member = settings.members[name]
    tokenizer = tokenizer or settings.tokenizer
    plan: Plan = member.plan if tokens is None else replace(member.plan, tokens=tokens)
    trained, run = train(name, plan, tokenizer, device, workers, max_minutes, compile_model)
    folder = out / name
    model.save(trained, settings, folder)
    for file in TOKENIZER_FILES:
        shutil.copyfile(tokenizer / file, folder / file)
    entries = {**asdict(run), **_settled(settings, member, plan)}
    entries["parameters"] = sum(p.numel() for p in trained.parameters())
    if beside:
        entries["beside"] = beside
    record.write(folder, entries)  # kept even if the evaluation fails
    print(f"{name}: trained in {run.seconds:.0f} s, loss {run.final_loss:.4f}", flush=True)
    del trained
    if questions:
        score = evaluate.evaluate(folder, device, questions)
        record.add_evaluation(folder, score)
        _tell(run, score)
    return folder


def _settled(settings: Settings, member: Member, plan: Plan) -> dict[str, Any]:
    """What was settled before the run."""
    return {
        "rows": plan.rows,
        "row_tokens": settings.row_tokens,
        "learning_rate": plan.lr,
        "seed": settings.seed,
        "mix": asdict(member.mix),
        "software": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }


def _tell(run: Run, score: dict[str, Any]) -> None:
    for task, result in score["tasks"].items():
        print(f"{run.member}: {task} {result['accuracy']:.3f} {result['levels']}", flush=True)
    print(
        f"RESULT {run.member} accuracy {score['accuracy']:.4f} on {score['questions']} questions,"
        f" {score['mean_tokens']} tokens each, finished {score['finished']:.3f},"
        f" loss {run.final_loss:.4f}, {run.tokens / 1e6:.0f} M tokens in {run.seconds:.0f} s",
        flush=True,
    )
