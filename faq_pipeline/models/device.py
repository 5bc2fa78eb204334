"""Which device runs, and whether a model fits on it; asked without loading torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import psutil

from faq_pipeline.config.family import Member
from faq_pipeline.errors import FaqError

WORKING_SPACE = 1.25
"""Weights times this is what inference takes at least (activations, key-value cache)."""

SMALL = 100_000_000
"""Parameters below which one CPU thread is used: more gain little, and crawl on a busy machine."""


def choose_device(wanted: str) -> str:
    """`auto` becomes `cuda` where a GPU answers, else `cpu`; a wanted but absent GPU is an error."""
    if wanted not in ("auto", "cpu", "cuda"):
        raise FaqError(f"unknown device {wanted!r}", mend="auto, cpu or cuda")
    present = gpu_name() is not None
    if wanted == "cuda" and not present:
        raise FaqError("no CUDA device answers here", mend="use --device cpu or auto")
    return "cuda" if present and wanted != "cpu" else "cpu"


@cache
def gpu_name() -> str | None:
    """Name of the first GPU, or None."""
    handle = _first_gpu()
    if handle is None:
        return None
    import pynvml

    return str(pynvml.nvmlDeviceGetName(handle))


def compute_identity(member: Member, device: str) -> dict[str, Any]:
    """What of the machine shapes the bytes of text, scores or weights that the member computes."""
    return {
        "device": "cpu" if device == "cpu" else f"cuda:{gpu_name()}",
        "threads": threads_for(member, device),
    }


def threads_for(member: Member, device: str) -> int | None:
    """CPU threads for the member, None on a GPU. Fixed, since their number changes how sums round."""
    if device != "cpu":
        return None
    return 1 if member.parameters < SMALL else psutil.cpu_count(logical=False) or 1


def fix_threads(member: Member, device: str) -> None:
    """Let this process compute with `threads_for` CPU threads, whatever `OMP_NUM_THREADS` says."""
    import torch

    if (threads := threads_for(member, device)) is not None:
        torch.set_num_threads(threads)


def device_memory(device: str) -> int:
    """Bytes that the device can hold."""
    if device == "cpu":
        return int(psutil.virtual_memory().total)
    import pynvml

    return int(pynvml.nvmlDeviceGetMemoryInfo(_first_gpu()).total)


def working_bytes(parameters: int) -> float:
    """Bytes that inference with so many bf16 weights takes at least."""
    return 2 * parameters * WORKING_SPACE


def check_fits(member: Member, device: str, alternatives: Sequence[Member] = (), *, devices: int = 1) -> None:
    """Refuse a member too big for the device, or for `devices` such together, before it is loaded.

    Raises:
        FaqError: names the alternatives that fit.
    """
    need, have = working_bytes(member.parameters), device_memory(device)
    if device != "cpu":
        have *= devices
    if need <= have:
        return
    fitting = [m.name for m in alternatives if working_bytes(m.parameters) <= have]
    raise FaqError(
        f"{member.name!r} needs about {need / 2**30:.1f} GiB and the {device} device has"
        f" {have / 2**30:.1f} GiB",
        mend=f"these fit: {', '.join(fitting)}" if fitting else "no other member fits either",
    )


@cache
def _first_gpu() -> object | None:
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetHandleByIndex(0) if pynvml.nvmlDeviceGetCount() else None
    except pynvml.NVMLError:
        return None
