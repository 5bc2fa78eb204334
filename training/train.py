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

from training.feed import Feed
from training.model import Model, build, loss, rope
from training.schedule import Pace, learning_rate
from training.settings import Plan, family_of

WARM_UP_TOKENS = 2_000_000
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


def optimizer(model: Model, peak: float, fused: bool) -> torch.optim.AdamW:
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


def _compiled(model: Model, sample: tuple[Any, ...]) -> tuple[LossFunction, bool]:
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
    """Tells how a run goes, and writes its record."""

    def __init__(self, run: Run, steps: int, step_tokens: int, begun: float) -> None:
        self._run = run
        self._planned = steps
        self._step_tokens = step_tokens
        self._begun = begun
        self._mark = self._last_report = (time.monotonic(), 0)

    def measure_from(self, step: int) -> None:
        """Let the rate be measured from now, when `step` steps are done."""
        self._mark = (time.monotonic(), step)

    def look(self, step: int, progress: float, loss_now: float, rate: float) -> None:
        """Print a line now and then."""
        now = time.monotonic()
        if now - self._last_report[0] >= 15 or progress == 1:
            speed = (step - self._last_report[1]) * self._step_tokens / max(1e-9, now - self._last_report[0])
            print(
                f"{self._run.member}: step {step}/{self._planned} ({progress:.0%}) loss {loss_now:.4f}"
                f" lr {rate:.2e} {speed / 1e3:.0f}k tokens/s {now - self._begun:.0f} s",
                flush=True,
            )
            self._last_report = (now, step)

    def finish(self, steps: int, final_loss: float) -> None:
        """Write what happened into the record of the run."""
        now = time.monotonic()
        if steps < self._planned:
            note = f"{steps} of {self._planned} steps, to end in time"
            self._run.shortened.append(note)
        self._run.steps = steps
        self._run.tokens = steps * self._step_tokens
        self._run.final_loss = final_loss
        self._run.seconds = now - self._begun
        measured = (steps - self._mark[1]) * self._step_tokens
        self._run.tokens_per_second = measured / max(1e-9, now - self._mark[0])


def _descend(
    model: Model,
    measure: Callable[[Tensor], Tensor],
    batches: Iterator[Tensor],
    plan: Plan,
    pace: Pace,
    watch: Watch,
    warm_up: int,
) -> tuple[int, float]:
    """Take steps, a batch each, to the end of the pace; returns their number and the last mean loss."""
    device = model.device
    adam = optimizer(model, plan.lr, fused=device.type == "cuda")
    parameters = list(model.parameters())
    recent: deque[Tensor] = deque(maxlen=RECENT)
    progress, done = 0.0, 0
    pace.start()
    for batch in batches:
        rate = learning_rate(progress, done, warm_up, plan.lr)
        for group in adam.param_groups:
            group["lr"] = rate
        value = measure(batch)
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        adam.step()
        adam.zero_grad(set_to_none=True)
        recent.append(value.detach())
        done += 1
        if done == SLOW_STEPS:
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            watch.measure_from(done)
        progress = pace.progress(done)
        if done % LOOK_EVERY == 0 or progress == 1:
            # Reading the loss waits for the device, so that the time is that of steps really done.
            watch.look(done, progress, float(torch.stack(list(recent)).mean()), rate)
        if progress == 1:
            break
    return done, float(torch.stack(list(recent)).mean())


def train(
    member: str,
    plan: Plan,
    tokenizer: Path,
    device: torch.device,
    workers: int,
    max_minutes: float | None = None,
    compile_model: bool = True,
) -> tuple[Model, Run]:
    """Train a member from scratch; returns the fp32 model and the record of the run."""
    begun = time.monotonic()
    s = family_of(member)
    cuda = device.type == "cuda"
    dtype = torch.bfloat16 if cuda else torch.float32
    step_tokens = plan.rows * s.row_tokens
    steps = max(1, plan.tokens // step_tokens)
    warm_up = max(1, min(WARM_UP_TOKENS // step_tokens, steps // 20))
    pace = Pace(steps, None if max_minutes is None else max_minutes * 60)
    with closing(Feed(member, tokenizer, workers, plan.rows)) as feed:
        if cuda:
            torch.set_float32_matmul_precision("high")
        model = build(s, s.members[member].shape)
        model.to(device)
        cos, sin = rope(s, s.row_tokens, device)
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
        watch = Watch(run, steps, step_tokens, begun)
        done, final_loss = _descend(
            model,
            lambda batch: function(model, batch, cos, sin, dtype),
            chain([first], batches),
            plan,
            pace,
            watch,
            warm_up,
        )
        watch.finish(done, final_loss)
    return model, run
