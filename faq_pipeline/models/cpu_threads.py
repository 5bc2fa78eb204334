"""How many CPU threads a process computes with."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from faq_pipeline.config.family import Member
from faq_pipeline.models.precision import Precision, precision_for

SMALL = 100_000_000
"""Parameters below which the number of CPU threads is the same on every machine: see `SMALL_THREADS`."""

SMALL_THREADS: dict[Precision, int] = {"bfloat16": 1, "float32": 2}
"""CPU threads of small members. float32 takes longer in matrix products, which are what threads share."""

CONTAINERS_LIMIT = Path("/sys/fs/cgroup/cpu.max")
"""A container's share of the CPU, in microseconds of so many (cgroup v2): `800000 100000` are 8 cores."""


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
