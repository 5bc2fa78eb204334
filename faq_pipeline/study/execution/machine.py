"""Describes the machine and software that a study runs on, for its report."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from faq_pipeline.models.device import device_kind, gpu_name
from faq_pipeline.models.processor import processor_name
from faq_pipeline.settings import REPOSITORY
from faq_pipeline.store.fingerprint import tool_version

COMMIT = "FAQ_COMMIT"
TOOLS = ("torch", "transformers", "llmcompressor", "compressed-tensors", "lm_eval")


@cache
def machine(device: str) -> dict[str, Any]:
    """Kind and name of the device, number of cores, commit and versions, without the host name."""
    return {
        "kind": device_kind(device),
        "device": processor_name() if device == "cpu" else str(gpu_name(device)),
        "cores": psutil.cpu_count(logical=True),
        "commit": _commit(),
        "versions": {"python": platform.python_version(), **{tool: tool_version(tool) for tool in TOOLS}},
    }


def _commit() -> str:
    """The commit of this repository, followed by `+` if tracked files differ from it.

    A copy without a git repository, as in an image or a wheel, takes the commit from FAQ_COMMIT, or is
    `unknown`. If the copy lies inside another repository, that repository's commit is not used.
    """
    if given := os.environ.get(COMMIT):
        return given
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
