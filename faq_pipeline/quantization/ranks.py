"""One member quantized by several processes (ranks), each with its share of the calibration rows.

`quantization.ranks: 2` of a recipe asks for it. Each rank sends its rows through the layers on a GPU of
its own; llmcompressor adds up the ranks' Hessians, divides the modules of a layer among the ranks and
hands the results to all. Every rank has the whole model in main memory, in shared pages. On a CPU the
ranks are processes that talk over gloo.

Two things are ours, since llmcompressor 0.14 lacks them: each rank is given a data set of its own (if all
have the same one, its sampler slices a copy that the loader does not read, and all ranks get the first
rows), and the ranks wait for each other after each layer (on a CPU they compute on the shared pages, and
one could read modules that another has not quantized yet).

The sums over rows are those of one process but for the order of their terms: a few weights near the
middle between two steps are rounded to the other one.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from faq_pipeline.config.quantization import Quantization
from faq_pipeline.errors import FaqError
from faq_pipeline.models.device import device_gpus, device_kind, device_of, torch_device
from faq_pipeline.models.loading import release
from faq_pipeline.models.weights import Weights
from faq_pipeline.quantization.compute_device import activations_device
from faq_pipeline.quantization.layer_log import LayerLog
from faq_pipeline.quantization.oneshot import FULL, note_fallback, run_once, token_counts
from faq_pipeline.quantization.saving import add_companions, save_packed
from faq_pipeline.quantization.spec_check import check_ranks
from faq_pipeline.util.attributes import replaced_attribute
from faq_pipeline.util.memory import is_out_of_memory
from faq_pipeline.util.parent_watch import exit_with_parent
from faq_pipeline.util.progress import Progress, SilentProgress

if TYPE_CHECKING:
    import torch

BEAT = 0.2
"""Seconds between two looks at what the ranks tell."""


@dataclass(frozen=True)
class Share:
    """What one rank is given.

    Attributes:
        counts: see `oneshot.token_counts`.
        between: where its activations wait between two layers.
    """

    spec: Quantization
    weights: Weights
    rows: Sequence[Sequence[int]]
    counts: Sequence[torch.Tensor] | None
    device: str
    between: str
    folder: Path


def quantize_on_ranks(
    spec: Quantization,
    weights: Weights,
    rows: Sequence[Sequence[int]],
    folder: Path,
    device: str,
    progress: Progress,
    samples: Sequence[Sequence[int]] | None = None,
) -> LayerLog:
    """Quantize a member with `spec.ranks` processes and save the checkpoint in `folder`.

    Args:
        device: has as many GPUs as there are ranks, or is a CPU.
        samples: see `oneshot.run`.

    Returns:
        Figures of its layers, of all ranks together.

    Raises:
        FaqError: fewer GPUs or rows than ranks.
    """
    check_ranks(spec, device)
    count = spec.ranks or 1
    counts = token_counts(spec, weights, rows, device, progress, samples)
    release()  # the ranks need the GPUs
    devices = _devices(device, count)
    if len(rows) < count:
        raise FaqError(
            f"the calibration set has {len(rows)} rows, fewer than quantization.ranks ({count})",
            hint="lower it, or raise calibration.tokens",
            key="quantization.ranks",
        )
    shares = _shares(spec, weights, rows, counts, devices, folder)
    try:
        log = _carry_out(shares, progress)
    except Exception as error:
        if all(share.between == "cpu" for share in shares) or not is_out_of_memory(error):
            raise
        progress.note(FULL)
        log = _carry_out([replace(share, between="cpu") for share in shares], progress)
    add_companions(weights, folder)
    note_fallback(log.fallback, progress)
    return log


def _devices(device: str, count: int) -> list[str]:
    """The device of each rank."""
    if device_kind(device) == "cpu":
        return [device] * count
    return [device_of([gpu]) for gpu in device_gpus(device)[:count]]


def _shares(
    spec: Quantization,
    weights: Weights,
    rows: Sequence[Sequence[int]],
    counts: Sequence[torch.Tensor] | None,
    devices: Sequence[str],
    folder: Path,
) -> list[Share]:
    """Rows in turn, the longest first: every rank gets about as many tokens."""
    order = sorted(range(len(rows)), key=lambda index: -len(rows[index]))
    shares = []
    for rank, device in enumerate(devices):
        own = order[rank :: len(devices)]
        mine = [rows[index] for index in own]
        weighed = None if counts is None else [counts[index] for index in own]
        between = activations_device(weights, mine, device)
        shares.append(Share(spec, weights, mine, weighed, device, between, folder))
    return shares


def _carry_out(shares: Sequence[Share], progress: Progress) -> LayerLog:
    """Run the ranks to their end. Where one fails, the others are ended and its error is raised."""
    import torch.multiprocessing as processes

    queue = processes.get_context("spawn").SimpleQueue()
    log = LayerLog()
    mistakes: list[FaqError] = []

    def listen() -> None:
        while not queue.empty():
            what, content = queue.get()
            if what == "log":
                log.add(content)
            elif what == "mistake":
                mistakes.append(content)
            else:
                getattr(progress, what)(*content)

    with TemporaryDirectory() as meeting:
        ranks = processes.spawn(
            _rank, args=(list(shares), f"file://{meeting}/ranks", queue), nprocs=len(shares), join=False
        )
        try:
            while not ranks.join(timeout=BEAT):
                listen()
        except Exception as error:
            listen()
            if mistakes:
                raise mistakes[0] from None
            if isinstance(error, processes.ProcessExitedException):
                raise FaqError(
                    "a rank of the quantization was killed, perhaps for want of main memory",
                    hint="run it again, with a lower quantization.ranks",
                ) from None
            raise
        finally:
            for process in ranks.processes:
                if process.is_alive():
                    process.kill()
    listen()
    return log


def _rank(rank: int, shares: Sequence[Share], meeting: str, queue: Any) -> None:
    """The life of one rank."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; the parent decides
    exit_with_parent()
    import torch.distributed as dist

    share = shares[rank]
    chosen = torch_device(share.device)
    on_gpu = chosen.type == "cuda"
    dist.init_process_group(
        "nccl" if on_gpu else "gloo",
        init_method=meeting,
        rank=rank,
        world_size=len(shares),
        device_id=chosen if on_gpu else None,
    )
    try:
        with _in_step():
            quantized = run_once(
                share.spec,
                share.weights,
                share.rows,
                share.counts,
                share.device,
                share.between,
                _QueueProgress(queue) if rank == 0 else SilentProgress(),
                len(shares),
            )
        queue.put(("log", quantized.log))
        save_packed(quantized.model, share.folder)
        dist.barrier()
    except FaqError as error:
        queue.put(("mistake", error))
        raise
    dist.destroy_process_group()


@contextmanager
def _in_step() -> Iterator[None]:
    """No rank goes on to the next layer before all have quantized this one."""
    import torch.distributed as dist
    from llmcompressor.core import LifecycleCallbacks

    original = LifecycleCallbacks.sequential_epoch_end

    def and_wait(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        dist.barrier()
        return result

    with replaced_attribute(LifecycleCallbacks, "sequential_epoch_end", and_wait):
        yield


class _QueueProgress:
    """A `Progress` that another process hears."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue

    def start(self, what: str, total: int) -> None:
        self._queue.put(("start", (what, total)))

    def advance(self, done: int = 1) -> None:
        self._queue.put(("advance", (done,)))

    def detail(self, text: str) -> None:
        self._queue.put(("detail", (text,)))

    def note(self, message: str) -> None:
        self._queue.put(("note", (message,)))
