"""The compute device, and whether a model fits on it; found without loading torch.

A device is written in one way everywhere: `cpu`, `cuda`, or with chosen GPUs `cuda:1` or `cuda:0,1`.
The numbers count the GPUs that CUDA_VISIBLE_DEVICES leaves. `cuda` alone is any GPU of the first
one's kind. Which GPU it is enters no identity; of what kind it is does, so a device has one kind.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from faq_pipeline.config.family import Member
from faq_pipeline.errors import FaqError
from faq_pipeline.models.gpus import Gpu, visible_gpus
from faq_pipeline.models.precision import Precision, precision_for

if TYPE_CHECKING:
    import torch

WORKING_SPACE = 1.25
"""Weights times this is what inference takes at least (activations, key-value cache)."""

RUNTIME = 1.2 * 2**30
"""Bytes of main memory that a process on a CPU takes besides: for its libraries (torch, transformers,
llmcompressor, Dagster and others: 0.7 to 0.8 GB) and for batches. Runs of the embedded family peak at 1.1 to
1.3 GB."""

SMALL = 100_000_000
"""Parameters below which the number of CPU threads is the same on every machine: see `SMALL_THREADS`."""

SMALL_THREADS: dict[Precision, int] = {"bfloat16": 1, "float32": 2}
"""CPU threads of small members. float32 takes longer in matrix products, which are what threads share."""

CONTAINERS_LIMIT = Path("/sys/fs/cgroup/cpu.max")
"""A container's share of the CPU, in microseconds of so many (cgroup v2): `800000 100000` are 8 cores."""

_assumed: ContextVar[int | None] = ContextVar("assumed_memory", default=None)
"""Bytes of a device that is not here, while a plan is made for it."""

_WANTED = re.compile(r"auto|cpu|cuda(?::(?P<numbers>\d+(?:,\d+)*))?")


def check_device(wanted: str) -> None:
    """Refuse what is no device at all, here or elsewhere."""
    if not _WANTED.fullmatch(wanted):
        raise FaqError(f"unknown device {wanted!r}", hint="auto, cpu, cuda, or some GPUs: cuda:1, cuda:0,1")


def choose_device(wanted: str) -> str:
    """`auto` becomes `cuda` where a GPU answers, else `cpu`.

    Raises:
        FaqError: no device is written so, no GPU answers, a chosen one is not there, or those chosen
            are not of one kind.
    """
    check_device(wanted)
    if wanted == "cpu":
        return "cpu"
    if not visible_gpus():
        if wanted == "auto":
            return "cpu"
        raise FaqError("no CUDA device answers here", hint="use --device cpu or auto")
    device = "cuda" if wanted == "auto" else wanted
    gpus = device_gpus(device)
    return device if device == "cuda" else device_of(gpus)


def device_kind(device: str) -> str:
    """`cpu` or `cuda`."""
    return device.partition(":")[0]


def device_gpus(device: str) -> tuple[Gpu, ...]:
    """The GPUs that work on this device may use, in CUDA's order; none for `cpu`, or where there are none.

    Raises:
        FaqError: a chosen one is not there, or those chosen are not of one kind.
    """
    if device_kind(device) == "cpu":
        return ()
    visible, numbers = visible_gpus(), _numbers(device)
    if numbers is None:
        return tuple(gpu for gpu in visible if gpu.name == visible[0].name)
    if absent := [number for number in numbers if number >= len(visible)]:
        here = ", ".join(f"cuda:{number} ({gpu.name})" for number, gpu in enumerate(visible))
        raise FaqError(f"there is no cuda:{absent[0]} here", hint=f"there is {here or 'no GPU'}")
    chosen = tuple(visible[number] for number in numbers)
    if len(kinds := sorted({gpu.name for gpu in chosen})) > 1:
        raise FaqError(
            f"{device} has GPUs of several kinds: {', '.join(kinds)}",
            hint="choose some of one kind: what is computed depends on it",
        )
    return chosen


def device_of(gpus: Sequence[Gpu]) -> str:
    """The device that has just these of the visible GPUs."""
    visible = visible_gpus()
    return "cuda:" + ",".join(map(str, sorted(visible.index(gpu) for gpu in gpus)))


def torch_device(device: str) -> torch.device:
    """The device as torch names it: of several GPUs the first. It is then torch's current GPU too.

    Found by its UUID: torch may count the GPUs in another order.

    Raises:
        FaqError: torch does not see the GPU.
    """
    import torch

    gpus = device_gpus(device)
    if not gpus:
        return torch.device(device)
    for index in range(torch.cuda.device_count()):
        if gpus[0].uuid.removeprefix("GPU-") == str(torch.cuda.get_device_properties(index).uuid):
            torch.cuda.set_device(index)
            return torch.device("cuda", index)
    raise FaqError(
        f"torch does not see {device} ({gpus[0].name}, {gpus[0].uuid})",
        hint="install torch for CUDA; with CUDA_VISIBLE_DEVICES set CUDA_DEVICE_ORDER=PCI_BUS_ID",
    )


def gpu_name(device: str = "cuda") -> str | None:
    """What kind of GPU the device has, or None."""
    gpus = device_gpus(device)
    return gpus[0].name if gpus else None


def compute_identity(member: Member, device: str, precision: Precision | None = None) -> dict[str, Any]:
    """Fingerprint inputs of the machine: what shapes text, scores or weights that the member computes.

    `precision` is included only if it is not bf16, so that artifacts made before there was a choice
    keep their fingerprints.

    Args:
        precision: that of `precision_for` if None.
    """
    precision = precision or precision_for(member, device)
    return {
        "device": "cpu" if device == "cpu" else f"cuda:{gpu_name(device)}",
        "threads": threads_for(member, device, precision),
        **({} if precision == "bfloat16" else {"precision": precision}),
    }


def threads_for(member: Member, device: str, precision: Precision | None = None) -> int | None:
    """CPU threads for the member, None on a GPU. Fixed, since their number changes how sums round.

    Args:
        precision: that of `precision_for` where absent.
    """
    if device != "cpu":
        return None
    if member.parameters < SMALL:
        return SMALL_THREADS[precision or precision_for(member, device)]
    return psutil.cpu_count(logical=False) or 1


def usable_cores() -> int:
    """CPU cores that this process may use: those that it may run on, or its container's share of them.

    Of limits, that of a container is seen (cgroup v2, in a namespace of its own, as Docker and Kubernetes
    have it).
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = CONTAINERS_LIMIT.read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


def fix_threads(member: Member, device: str, processes: int = 1) -> None:
    """Let this process compute with `threads_for` CPU threads, whatever `OMP_NUM_THREADS` says.

    On a GPU with as many as it has cores: what the CPU does there shapes no bytes, and more threads
    than cores, which another member may have left, wait for each other.

    Args:
        processes: that share the cores where the device is a GPU.
    """
    import torch

    torch.set_num_threads(threads_for(member, device) or max(1, usable_cores() // processes))


@contextmanager
def assumed_memory(gib: float | None) -> Iterator[None]:
    """Within it, plans are made for a GPU of so many GiB that computes in bf16; as things are for None."""
    if gib is not None and not gib > 0:
        raise FaqError(f"memory of {gib} GiB", hint="--assume-memory 80")
    token = _assumed.set(None if gib is None else int(gib * 2**30))
    try:
        yield
    finally:
        _assumed.reset(token)


def device_memory(device: str) -> int:
    """Bytes that the device can hold; of several GPUs the smallest."""
    if (assumed := _assumed.get()) is not None:
        return assumed
    if device == "cpu":
        return int(psutil.virtual_memory().total)
    return min((gpu.memory for gpu in device_gpus(device)), default=0)


def runs_on_cpu(device: str) -> bool:
    """Whether this device's work is done by the CPU; it is not while a plan is made for a GPU elsewhere."""
    return device == "cpu" and _assumed.get() is None


def working_bytes(parameters: int) -> float:
    """Bytes that inference with so many bf16 weights takes at least."""
    return 2 * parameters * WORKING_SPACE


def member_bytes(member: Member, device: str) -> float:
    """Bytes that inference with the member takes at least, in the precision that it computes in there."""
    return widening(member, device) * working_bytes(member.parameters)


def peak_bytes(parameters: int, member: Member, device: str) -> float:
    """Bytes that a stage which loads so many parameters takes, of the memory that `memory_in_words` names.

    Args:
        member: whose precision they have.
    """
    runtime = RUNTIME if runs_on_cpu(device) else 0
    return runtime + widening(member, device) * working_bytes(parameters)


def memory_in_words(device: str) -> str:
    """Which memory `peak_bytes` counts on this device."""
    if runs_on_cpu(device):
        return f"main memory of the process, of which {RUNTIME / 1e9:.1f} GB for libraries and batches"
    return "of the GPU, for the model; the process takes main memory besides"


def widening(member: Member, device: str) -> int:
    """How many times the bytes of bf16 its weights and activations take there: 1 or 2."""
    if _assumed.get() is not None:
        return 1
    return 2 if precision_for(member, device) == "float32" else 1


def roomy_device(member: Member, device: str) -> str:
    """The device, if the whole member fits on it; else main memory's."""
    return device if member_bytes(member, device) <= device_memory(device) else "cpu"


def check_fits(
    member: Member,
    device: str,
    alternatives: Sequence[Member] = (),
    *,
    devices: int = 1,
    copies: int = 1,
) -> None:
    """Refuse a member too big for the device, or for `devices` such together, before it is loaded.

    Args:
        copies: how many of it are needed at once.

    Raises:
        FaqError: names the alternatives that fit.
    """
    need, have = copies * member_bytes(member, device), device_memory(device)
    if device != "cpu":
        have *= devices
    if need <= have:
        return
    fitting = [m.name for m in alternatives if member_bytes(m, device) <= have]
    what = f"{member.name!r} and {copies - 1} more of it" if copies > 1 else repr(member.name)
    raise FaqError(
        f"{what} needs about {need / 2**30:.1f} GiB and the {device} device has {have / 2**30:.1f} GiB",
        hint=f"these fit: {', '.join(fitting)}" if fitting else "no other member fits either",
    )


def _numbers(device: str) -> list[int] | None:
    """The numbers of the chosen GPUs, None where none are chosen."""
    _, chosen, numbers = device.partition(":")
    return sorted({int(number) for number in numbers.split(",")}) if chosen else None
