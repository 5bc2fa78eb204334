"""The compute device; found without loading torch.

A device is written in one way everywhere: `cpu`, `cuda`, or with chosen GPUs `cuda:1` or `cuda:0,1`.
The numbers count the GPUs that CUDA_VISIBLE_DEVICES leaves. `cuda` alone is any GPU of the first
one's kind. Which GPU it is enters no identity; of what kind it is does, so a device has one kind.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from faq_pipeline.config.family import Member
from faq_pipeline.errors import FaqError
from faq_pipeline.models.cpu_threads import threads_for
from faq_pipeline.models.gpus import Gpu, visible_gpus
from faq_pipeline.models.precision import Precision, precision_for

if TYPE_CHECKING:
    import torch

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


def _numbers(device: str) -> list[int] | None:
    """The numbers of the chosen GPUs, None where none are chosen."""
    _, chosen, numbers = device.partition(":")
    return sorted({int(number) for number in numbers.split(",")}) if chosen else None
