"""The GPUs of this machine and those that this process may use; found without loading torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Gpu:
    """One physical GPU.

    Attributes:
        number: its place in the driver's own order (by PCI bus), whatever CUDA_VISIBLE_DEVICES says.
        uuid: the same in every process and container.
        memory: bytes, in all.
    """

    number: int
    uuid: str
    name: str
    memory: int


@cache
def installed_gpus() -> tuple[Gpu, ...]:
    """The GPUs that the driver shows, in its order; none where there is no driver.

    Tests put GPUs here: all else about them follows from this and from `free_memory`.
    """
    try:
        import pynvml
    except ImportError:
        return ()
    try:
        pynvml.nvmlInit()
        return tuple(_read(number) for number in range(pynvml.nvmlDeviceGetCount()))
    except pynvml.NVMLError:
        return ()


def free_memory(gpu: Gpu) -> int | None:
    """Free bytes; None if the driver does not say."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(gpu.number)).free)
    except pynvml.NVMLError:
        return None


def visible_gpus() -> tuple[Gpu, ...]:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves, in its order: `cuda:0` is the first of them.

    Read as CUDA reads it: up to the first entry that names no GPU, and not at all if one is named
    twice. An entry is a number or a UUID, which may be cut short.
    """
    installed, named = installed_gpus(), os.environ.get(VISIBLE)
    if named is None:
        return installed
    seen: list[Gpu] = []
    for entry in named.split(","):
        gpu = _find(entry.strip(), installed)
        if gpu is None:
            break
        if gpu in seen:
            return ()
        seen.append(gpu)
    return tuple(seen)


def _find(entry: str, installed: Sequence[Gpu]) -> Gpu | None:
    if entry.isdecimal():
        return next((gpu for gpu in installed if gpu.number == int(entry)), None)
    found = [gpu for gpu in installed if entry.startswith("GPU-") and gpu.uuid.startswith(entry)]
    return found[0] if len(found) == 1 else None


def _read(number: int) -> Gpu:
    import pynvml

    handle = pynvml.nvmlDeviceGetHandleByIndex(number)
    return Gpu(
        number=number,
        uuid=_text(pynvml.nvmlDeviceGetUUID(handle)),
        name=_text(pynvml.nvmlDeviceGetName(handle)),
        memory=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
    )


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
