"""The training loop of one member."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
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
SLOW_STEPS = 5
"""The first steps, which warm the device up, do not count for the rate."""
LOOK_EVERY = 20
RECENT = 50
"""Over how many steps the reported loss is a mean."""


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
    decayed: list[torch.nn.Parameter] = []
    plain: list[torch.nn.Parameter] = []
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


class Watch:
    """Tells how a run goes, and shortens it where it would end after its time limit."""

    def __init__(
        self, run: Run, steps: int, step_tokens: int, begun: float, max_minutes: float | None
    ) -> None:
        self.steps = steps
        self._run = run
        self._step_tokens = step_tokens
        self._begun = begun
        self._max_minutes = max_minutes
        self._decisions = list(DECISIONS)
        self._mark = self._told = (time.monotonic(), 0)

    def measure_from(self, step: int) -> None:
        """Let the rate be measured from now, when `step` steps are done."""
        self._mark = (time.monotonic(), step)

    def look(self, step: int, loss_now: float, rate: float) -> None:
        """Print a line now and then; at the moments of decision, hold the rate against the limit."""
        now = time.monotonic()
        if now - self._told[0] >= 15 or step == self.steps:
            speed = (step - self._told[1]) * self._step_tokens / max(1e-9, now - self._told[0])
            print(
                f"{self._run.member}: step {step}/{self.steps} loss {loss_now:.4f} lr {rate:.2e}"
                f" {speed / 1e3:.0f}k tokens/s {now - self._begun:.0f} s",
                flush=True,
            )
            self._told = (now, step)
        due = self._decisions and self._decisions[0] * self.steps <= step < self.steps
        if self._max_minutes and due and step > self._mark[1] >= SLOW_STEPS:
            self._decisions.pop(0)
            self._keep_to(self._max_minutes, step, now)

    def _keep_to(self, minutes: float, step: int, now: float) -> None:
        per_step = (now - self._mark[0]) / (step - self._mark[1])
        fits = step + int((minutes * 60 - (now - self._begun)) / per_step)
        if fits < self.steps:
            self.steps = max(fits, step + 1)
            note = f"shortened to {self.steps} steps at step {step}, to end in {minutes} minutes"
            self._run.shortened.append(note)
            print(f"{self._run.member}: {note}", flush=True)

    def finish(self, final_loss: float) -> None:
        """Write what happened into the record of the run."""
        now = time.monotonic()
        self._run.steps = self.steps
        self._run.tokens = self.steps * self._step_tokens
        self._run.final_loss = final_loss
        self._run.seconds = now - self._begun
        measured = (self.steps - self._mark[1]) * self._step_tokens
        self._run.tokens_per_second = measured / (now - self._mark[0])


def _descend(
    model: Qwen3ForCausalLM,
    measure: Callable[[Tensor], Tensor],
    batches: Iterator[Tensor],
    plan: Plan,
    watch: Watch,
    warm_up: int,
) -> float:
    """Take all steps, a batch each; returns the mean loss of the last ones."""
    device = model.device
    adam = optimizer(model, plan.lr, fused=device.type == "cuda")
    parameters = list(model.parameters())
    recent: deque[Tensor] = deque(maxlen=RECENT)
    for step, batch in enumerate(batches):
        rate = learning_rate(step, watch.steps, warm_up, plan.lr)
        for group in adam.param_groups:
            group["lr"] = rate
        value = measure(batch)
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        adam.step()
        adam.zero_grad(set_to_none=True)
        recent.append(value.detach())
        done = step + 1
        if done == SLOW_STEPS:
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            watch.measure_from(done)
        if done % LOOK_EVERY == 0 or done == watch.steps:
            watch.look(done, float(torch.stack(list(recent)).mean()), rate)
        if done == watch.steps:
            break
    return float(torch.stack(list(recent)).mean())


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
    cuda = device.type == "cuda"
    dtype = torch.bfloat16 if cuda else torch.float32
    step_tokens = plan.rows * s.row_tokens
    steps = max(1, plan.tokens // step_tokens)
    warm_up = max(1, min(WARM_UP_TOKENS // step_tokens, steps // 20))
    with closing(Feed(tokenizer, workers, plan.rows)) as feed:
        if cuda:
            torch.set_float32_matmul_precision("high")
        model = build(s.shapes[member], s.vocabulary, s.seed)
        model.to(device)  # type: ignore[arg-type]
        cos, sin = rope(s.row_tokens, device)
        run = Run(member, plan.tokens, hardware=torch.cuda.get_device_name(device) if cuda else "CPU")
        batches = _on_device(feed, device)
        first = next(batches)
        function: LossFunction = loss
        if compile_model:
            function, run.compiled = _compiled(model, (first, cos, sin, dtype))
        millions = sum(p.numel() for p in model.parameters()) / 1e6
        print(
            f"{member}: {millions:.2f} M parameters, {steps} steps of"
            f" {step_tokens} tokens, ready after {time.monotonic() - begun:.0f} s",
            flush=True,
        )
        watch = Watch(run, steps, step_tokens, begun, max_minutes)
        watch.finish(
            _descend(
                model,
                lambda batch: function(model, batch, cos, sin, dtype),
                chain([first], batches),
                plan,
                watch,
                warm_up,
            )
        )
    return model, run
