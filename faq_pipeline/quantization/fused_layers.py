"""Layers that inference engines fuse into one, and that must therefore have one scheme."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

FUSED = {
    "q_proj": "qkv_proj",
    "k_proj": "qkv_proj",
    "v_proj": "qkv_proj",
    "gate_proj": "gate_up_proj",
    "up_proj": "gate_up_proj",
}
"""Names of layers, and of what vLLM makes of them."""
_EXPERTS = re.compile(r"\.experts\..*$")


def fused_name(module: str) -> str:
    """The layer that the module becomes a part of; its own name where it stays alone.

    All experts of a block are one layer.
    """
    if _EXPERTS.search(module):
        return _EXPERTS.sub(".experts", module)
    parent, _, name = module.rpartition(".")
    return f"{parent}.{FUSED[name]}" if name in FUSED else module


def fused_layers(modules: Iterable[str]) -> dict[str, list[str]]:
    """Modules by the fused layer that they are parts of, in their order."""
    found: dict[str, list[str]] = {}
    for module in modules:
        found.setdefault(fused_name(module), []).append(module)
    return found


def disagreeing(bits: Mapping[str, int]) -> list[str] | None:
    """Modules of the first fused layer whose bits differ; None where each has one width."""
    for parts in fused_layers(bits).values():
        if len({bits[part] for part in parts}) > 1:
            return parts
    return None
