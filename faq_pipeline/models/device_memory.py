"""What a device can hold, and whether a model fits on it; found without loading torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import psutil

from faq_pipeline.config.family import Member
from faq_pipeline.errors import FaqError
from faq_pipeline.models.device import device_gpus
from faq_pipeline.models.precision import precision_for

WORKING_SPACE = 1.25
"""Weights times this is what inference takes at least (activations, key-value cache)."""

RUNTIME = 1.2 * 2**30
"""Bytes of main memory that a process on a CPU takes besides: for its libraries (torch, transformers,
llmcompressor, Dagster and others: 0.7 to 0.8 GB) and for batches. Runs of the embedded family peak at 0.9 to
1.3 GB."""

_assumed: ContextVar[int | None] = ContextVar("assumed_memory", default=None)
"""Bytes of a device that is not here, while a plan is made for it."""


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
