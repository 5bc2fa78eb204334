"""A machine written down: what of it enters identities, the same wherever the tests run.

Patched are the operating system's and Python's own doors, not the package's: the package reads the
machine in its own way, and wherever it does so.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import Distribution
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import psutil

from faq_pipeline.models.precision import has_bf16_arithmetic
from faq_pipeline.store.fingerprint import tool_version

CPU_FLAGS = Path("/proc/cpuinfo")
NATIVE_BF16 = "avx2 avx512f avx512_bf16 amx_bf16 amx_tile"
AVX2 = "avx avx2 fma f16c"
OF_THE_USER = ("FAQ_VLLM", "VLLM_BATCH_INVARIANT", "VLLM_ATTENTION_BACKEND", "VLLM_USE_V2_MODEL_RUNNER")


@contextmanager
def machine(flags: str, cores: int = 2) -> Iterator[None]:
    """An x86 machine without a GPU whose processor has these flags; every package has version `0`."""
    read = Path.read_text

    def read_text(path: Path, *args: Any, **kwargs: Any) -> str:
        return f"flags\t\t: fpu {flags} rdpid\n" if path == CPU_FLAGS else read(path, *args, **kwargs)

    with ExitStack() as stack:
        stack.enter_context(patch.object(Path, "read_text", read_text))
        stack.enter_context(patch.object(platform, "machine", lambda: "x86_64"))
        stack.enter_context(patch.object(psutil, "cpu_count", lambda logical=True: cores))
        stack.enter_context(
            patch.object(Distribution, "from_name", lambda name: SimpleNamespace(version="0"))
        )
        stack.enter_context(patch.dict(os.environ))
        for name in OF_THE_USER:
            os.environ.pop(name, None)
        stack.callback(_forget)
        _forget()
        yield


def _forget() -> None:
    """What is read of the machine once a process is read again."""
    tool_version.cache_clear()
    has_bf16_arithmetic.cache_clear()
