"""Layer number of a module, from its name."""

from __future__ import annotations

import re

_LAYER = re.compile(r"\.(\d+)(\.|$)")


def layer_of(module: str) -> int:
    """The layer's number in a module's name; -1 for a module outside the layers."""
    found = _LAYER.search(module)
    return int(found.group(1)) if found else -1
