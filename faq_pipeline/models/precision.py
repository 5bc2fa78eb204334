"""The precision that a member computes in on this machine; asked without loading torch."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from faq_pipeline.config.family import Member

Precision = Literal["bfloat16", "float32"]

WIDENED = 2_000_000_000
"""Parameters below which a member is widened to float32 where bf16 is emulated: 8 GB of weights at most."""

PROCESSOR = Path("/proc/cpuinfo")
"""Where Linux lists the processor's instructions; tests and benchmarks put another processor here."""

INSTRUCTIONS = {"amx_bf16", "avx512_bf16", "bf16"}
"""Linux's names of bf16 arithmetic: AMX and AVX-512 on x86, BF16 on Arm."""


def precision_for(member: Member, device: str) -> Precision:
    """The precision of a member's activations, and of its weights in memory.

    Processors without bf16 arithmetic emulate it, four to five times slower than float32: there the
    weights are widened, which changes none of them. Larger members (`WIDENED`) stay as they are, since
    they would take twice the memory. Checkpoints are bf16 everywhere.

    Depends on the processor's kind and the member's size alone, since it is part of the identity.
    """
    widened = device == "cpu" and member.parameters < WIDENED and not has_bf16_arithmetic()
    return "float32" if widened else "bfloat16"


@cache
def has_bf16_arithmetic() -> bool:
    """Whether this processor multiplies bf16 itself. Without Linux's list of instructions: no.

    AVX-512 without AMX counts: on it bf16 is twice as fast as float32 (docs/PERFORMANCE.md).
    """
    try:
        listed = set(PROCESSOR.read_text(encoding="utf-8").split())
    except OSError:
        return False
    return not listed.isdisjoint(INSTRUCTIONS)
