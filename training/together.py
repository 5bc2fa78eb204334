"""All members of a family at the same time on one device: a process each, side by side."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from training.settings import Member, Settings

_COMPILERS = 4
"""Processes that compile one member's kernels: several members compile at once."""


def shares(members: Sequence[Member], workers: int) -> list[int]:
    """So many workers for each member, in proportion to their shares, at least one each."""
    total = sum(member.plan.share for member in members)
    parts = [max(1, workers * member.plan.share // total) for member in members]
    by_lack = sorted(
        range(len(members)), key=lambda i: parts[i] - workers * members[i].plan.share / total
    )  # who got least of its due comes first
    for index in by_lack[: max(0, workers - sum(parts))]:
        parts[index] += 1
    return parts


def train_all(settings: Settings, workers: int, options: Sequence[str]) -> bool:
    """Make every shipped member with the family's tokenizer; whether all were made.

    A member that fails does not stop the others. All are stopped with this process.

    Args:
        options: of `python -m training member`, handed to each.
    """
    members = settings.shipped
    environment = {"TORCHINDUCTOR_COMPILE_THREADS": str(_COMPILERS), **os.environ}
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for member, count in zip(members, shares(members, workers), strict=True):
            command = [sys.executable, "-m", "training", "member", member.name, "--workers", str(count)]
            beside = ["--beside", str(len(members) - 1)]
            processes[member.name] = subprocess.Popen([*command, *beside, *options], env=environment)
        codes = {name: process.wait() for name, process in processes.items()}
    finally:
        for process in processes.values():
            process.terminate()
    for name, code in codes.items():
        print(f"{name}: {'made' if code == 0 else f'FAILED with exit code {code}'}", flush=True)
    return not any(codes.values())
