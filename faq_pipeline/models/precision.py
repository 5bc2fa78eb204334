"""What a member computes in where only figures are wanted of it, and no text; asked without loading torch."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal

from faq_pipeline.config.family import Member
from faq_pipeline.models.device import SMALL, compute_identity

Precision = Literal["bfloat16", "float32"]


def precision_for(member: Member, device: str) -> Precision:
    """What a member computes in where only figures are wanted of it, and no text.

    Processors without bf16 arithmetic emulate it, several times slower than float32; there the
    weights of small members are widened, which changes none of them. Larger members stay as they
    are, since they would take twice the memory.
    """
    widened = device == "cpu" and member.parameters < SMALL and not _multiplies_bf16()
    return "float32" if widened else "bfloat16"


def figures_identity(member: Member, device: str) -> dict[str, Any]:
    """What of the machine shapes figures that the member computes: see `precision_for`."""
    precision = precision_for(member, device)
    declared = compute_identity(member, device)
    return declared if precision == "bfloat16" else {**declared, "precision": precision}


@cache
def _multiplies_bf16() -> bool:
    """Whether this processor has instructions for it (x86: AMX or AVX-512 BF16; Arm: BF16)."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return False
    return not flags.isdisjoint({"amx_bf16", "avx512_bf16", "bf16"})
