"""What a study runs on, for its report."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from faq_pipeline.models.device import device_kind, gpu_name
from faq_pipeline.settings import REPOSITORY
from faq_pipeline.store.fingerprint import tool_version

COMMIT = "FAQ_COMMIT"
TOOLS = ("torch", "transformers", "llmcompressor", "compressed-tensors", "lm_eval")


@cache
def machine(device: str) -> dict[str, Any]:
    """Kind and name of the device, cores, commit and versions. No host name."""
    return {
        "kind": device_kind(device),
        "device": _processor() if device == "cpu" else str(gpu_name(device)),
        "cores": psutil.cpu_count(logical=True),
        "commit": _commit(),
        "versions": {"python": platform.python_version(), **{tool: tool_version(tool) for tool in TOOLS}},
    }


def _processor() -> str:
    """The processor's name, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _commit() -> str:
    """The commit of this repository, `+` where files differ from it.

    A copy without its git, as in an image or a wheel, is told its commit by FAQ_COMMIT; else it is
    `unknown`. That of another repository around the copy is not taken for it.
    """
    if told := os.environ.get(COMMIT):
        return told
    try:
        if Path(_git("rev-parse", "--show-toplevel")).resolve() != REPOSITORY:
            return "unknown"
        head = _git("rev-parse", "--short=10", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return done.stdout.strip()
