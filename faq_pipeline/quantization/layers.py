"""Tensors of a checkpoint folder, read from safetensors headers only, and what a recipe ignores."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faq_pipeline.errors import FaqError, library_errors
from faq_pipeline.models.architecture import Architecture, LinearLayer

BITS = {"F64": 64, "I64": 64, "F32": 32, "I32": 32, "U32": 32, "BF16": 16, "F16": 16, "I16": 16}
"""Width of safetensors' dtypes; those left out are 8 bits wide."""


ADAPTER = "adapter"
"""Folder of a checkpoint with an adapter beside its weights, see `compensation.adapter`."""


@dataclass(frozen=True)
class Tensor:
    """A tensor of a safetensors file: its shape and its size in bits."""

    shape: tuple[int, ...]
    bits: int


def shards(folder: Path) -> list[Path]:
    """The folder's safetensors files, in order of name."""
    return sorted(folder.glob("*.safetensors"))


def weight_bytes(folder: Path) -> int:
    """Size of the folder's safetensors files, with those of its adapter."""
    return sum(path.stat().st_size for path in [*shards(folder), *shards(folder / ADAPTER)])


@contextmanager
def opened(path: Path, framework: str = "numpy") -> Iterator[Any]:
    """A safetensors file, read lazily."""
    from safetensors import safe_open

    with library_errors("the weights cannot be read", file=path, hint="copy or download them again"):
        file = safe_open(path, framework=framework)
    with file:
        yield file


def stored_names(folder: Path, framework: str = "numpy") -> Iterator[tuple[Any, str]]:
    """Each tensor in the folder's safetensors files: the opened file, and the tensor's name in it."""
    for path in shards(folder):
        with opened(path, framework) as file:
            for name in file.keys():  # noqa: SIM118 (not a dict)
                yield file, name


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint by name; no weight is read."""
    found: dict[str, Tensor] = {}
    for file, name in stored_names(folder):
        part = file.get_slice(name)
        shape = tuple(part.get_shape())
        found[name] = Tensor(shape, math.prod(shape) * BITS.get(part.get_dtype(), 8))
    return found


def is_quantized(layer: LinearLayer, tensors: Mapping[str, Tensor]) -> bool:
    """Whether a checkpoint holds the layer's weight with scales."""
    return f"{layer.stored}.weight_scale" in tensors


def not_ignored(architecture: Architecture, ignore: Collection[str]) -> list[LinearLayer]:
    """The layers that a recipe with this `ignore` quantizes, in the model's order.

    Raises:
        FaqError: see `is_ignored`.
    """
    return [layer for layer in architecture.quantizable if not is_ignored(layer.module, ignore)]


def is_ignored(module: str, ignore: Iterable[str]) -> bool:
    """Whether a recipe leaves the module unquantized: its exact name, or `re:` with a pattern.

    Raises:
        FaqError: not a regular expression.
    """
    for entry in ignore:
        if entry.startswith("re:"):
            try:
                if re.match(entry.removeprefix("re:"), module):
                    return True
            except re.error as error:
                raise FaqError(
                    f"quantization.ignore: {entry!r} is not a regular expression: {error}"
                ) from None
        elif entry == module:
            return True
    return False
