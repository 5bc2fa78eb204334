"""The training loop of one member."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import torch
from torch import Tensor
from transformers import Qwen3ForCausalLM

from training.feed import Feed
from training.model import build, loss, rope
from training.settings import Plan, settings

WARM_UP_TOKENS = 2_000_000
FLAT = 0.30
DECISIONS = (0.05, 0.25)
"""When the measured rate is held against the time limit: both lie in the flat part."""


@dataclass
class Run:
    """What happened in one training run."""

    member: str
    planned_tokens: int
    tokens: int = 0
    steps: int = 0
    seconds: float = 0.0
    final_loss: float = float("nan")
    tokens_per_second: float = 0.0
    hardware: str = ""
    compiled: bool = False
    shortened: list[str] = field(default_factory=list)


def learning_rate(step: int, steps: int, warm_up: int, peak: float) -> float:
    """Short warm-up, flat for 30% of the steps, then linear to zero."""
    flat = int(FLAT * steps)
    if step < warm_up:
        return peak * (step + 1) / warm_up
    if step < flat:
        return peak
    return peak * (steps - step) / max(1, steps - flat)


def optimizer(model: Qwen3ForCausalLM, peak: float, fused: bool) -> torch.optim.AdamW:
    """AdamW with weight decay on the matrices but not on norms and embeddings."""
    decayed, plain = [], []
    for name, weight in model.named_parameters():
        (decayed if weight.ndim == 2 and "embed" not in name else plain).append(weight)
    groups = [
        {"params": decayed, "weight_decay": 0.1},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.95), eps=1e-8, fused=fused)


def _on_device(feed: Feed, device: torch.device) -> Iterator[Tensor]:
    """Batches on the device, made ready by a thread while the device computes."""
    ready: Queue[Tensor | BaseException] = Queue(maxsize=4)

    def prepare() -> None:
        try:
            for rows in feed:
                batch = torch.from_numpy(rows.astype("int64"))
                ready.put(batch.pin_memory() if device.type == "cuda" else batch)
        except BaseException as error:  # handed to the training loop, which raises it
            ready.put(error)

    Thread(target=prepare, daemon=True).start()
    while True:
        batch = ready.get()
        if isinstance(batch, BaseException):
            raise batch
        yield batch.to(device, non_blocking=True)


LossFunction = Callable[..., Tensor]


def _compiled(model: Qwen3ForCausalLM, sample: tuple[Any, ...]) -> tuple[LossFunction, bool]:
    """The compiled loss, or the plain one where compiling fails."""
    try:
        function = torch.compile(loss, dynamic=False)
        function(model, *sample).backward()
        model.zero_grad(set_to_none=True)
        return function, True
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        print(f"torch.compile failed, going on without: {reason}", flush=True)
        model.zero_grad(set_to_none=True)
        return loss, False


def train(
    member: str,
    plan: Plan,
    tokenizer: Path,
    device: torch.device,
    workers: int,
    max_minutes: float | None = None,
    compile_model: bool = True,
) -> tuple[Qwen3ForCausalLM, Run]:
    """Train a member from scratch; returns the fp32 model and the record of the run."""
    begun = time.monotonic()
    s = settings()
    feed = Feed(tokenizer, workers, plan.rows)
    cuda = device.type == "cuda"
    if cuda:
        torch.set_float32_matmul_precision("high")
    dtype = torch.bfloat16 if cuda else torch.float32
    model = build(s.shapes[member], s.vocabulary, s.seed).to(device)
    adam = optimizer(model, plan.lr, fused=cuda)
    cos, sin = rope(s.row_tokens, device)
    step_tokens = plan.rows * s.row_tokens
    steps = max(1, plan.tokens // step_tokens)
    warm_up = max(1, min(WARM_UP_TOKENS // step_tokens, steps // 20))
    name = torch.cuda.get_device_name(device) if cuda else "CPU"
    run = Run(member, plan.tokens, hardware=name)
    batches = _on_device(feed, device)
    batch = next(batches)
    function: LossFunction = loss
    if compile_model:
        function, run.compiled = _compiled(model, (batch, cos, sin, dtype))
    parameters = list(model.parameters())
    print(
        f"{member}: {sum(p.numel() for p in parameters) / 1e6:.2f} M parameters, {steps} steps of"
        f" {step_tokens} tokens, ready after {time.monotonic() - begun:.0f} s",
        flush=True,
    )
    decisions = list(DECISIONS)
    mark = (time.monotonic(), 0)
    told = (time.monotonic(), 0)
    recent: list[Tensor] = []
    step = 0
    while step < steps:
        if step:
            batch = next(batches)
        rate = learning_rate(step, steps, warm_up, plan.lr)
        for group in adam.param_groups:
            group["lr"] = rate
        value = function(model, batch, cos, sin, dtype)
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        adam.step()
        adam.zero_grad(set_to_none=True)
        recent = [*recent[-49:], value.detach()]
        step += 1
        if step == 5:
            if cuda:
                torch.cuda.synchronize(device)
            mark = (time.monotonic(), step)
        if step % 20 and step != steps:
            continue
        current = float(torch.stack(recent).mean())
        now = time.monotonic()
        if now - told[0] >= 15 or step == steps:
            speed = (step - told[1]) * step_tokens / max(1e-9, now - told[0])
            print(
                f"{member}: step {step}/{steps} loss {current:.4f} lr {rate:.2e}"
                f" {speed / 1e3:.0f}k tokens/s {now - begun:.0f} s",
                flush=True,
            )
            told = (now, step)
        if max_minutes and decisions and step >= decisions[0] * steps and step > mark[1] >= 5:
            decisions.pop(0)
            per_step = (now - mark[0]) / (step - mark[1])
            fits = step + int((max_minutes * 60 - (now - begun)) / per_step)
            if fits < steps:
                steps = max(fits, step + 1)
                note = f"shortened to {steps} steps at step {step}, to end in {max_minutes} minutes"
                run.shortened.append(note)
                print(f"{member}: {note}", flush=True)
    run.steps, run.tokens = steps, steps * step_tokens
    run.final_loss = float(torch.stack(recent).mean())
    run.seconds = time.monotonic() - begun
    run.tokens_per_second = (steps - mark[1]) * step_tokens / (time.monotonic() - mark[0])
    feed.close()
    return model, run
