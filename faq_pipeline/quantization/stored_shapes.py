"""Compares the shapes of a checkpoint's tensors with those that the member and the scheme give them.

Loading tells little of them: transformers takes an embedding or a head that lost a row, and gives finite
logits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from faq_pipeline.config.json_objects import read_object
from faq_pipeline.errors import FaqError
from faq_pipeline.models.architecture import Architecture, LinearLayer, Shape
from faq_pipeline.quantization.layers import Tensor, is_ignored, is_quantized, stored_names

WORD = 32
"""Bits of a word of packed integers."""

OTHERS = "Linear"
"""A target that is every linear layer which no other group names."""


class _Scheme(NamedTuple):
    """How some layers are stored: those of these names, or that match a pattern; or all linear layers."""

    names: frozenset[str]
    patterns: tuple[str, ...]
    weights: Mapping[str, Any]

    def is_for(self, module: str) -> bool:
        return module in self.names or is_ignored(module, self.patterns)


def wrong_shapes(folder: Path, architecture: Architecture, tensors: Mapping[str, Tensor]) -> list[str]:
    """Tensors of another shape than they must have, such as "model.norm.weight: 127, expected 128".

    Where it is not known how a tensor is stored, it is left out.

    Args:
        tensors: all tensors of the checkpoint in the folder.
    """
    found = wrong_dense_shapes(architecture, tensors)
    schemes, told = _schemes(folder), _told_shapes(folder)
    for layer in architecture.layers:
        if is_quantized(layer, tensors):
            found += _wrong_in_layer(layer, tensors, told, schemes)
    return found


def wrong_dense_shapes(architecture: Architecture, tensors: Mapping[str, Tensor]) -> list[str]:
    """Tensors that are not quantized and have another shape than they must have, see `wrong_shapes`."""
    return [
        _line(name, tensors[name].shape, shape)
        for name, shape in {**architecture.tied, **architecture.tensors}.items()
        if name in tensors and tensors[name].shape != shape
    ]


def _wrong_in_layer(
    layer: LinearLayer, tensors: Mapping[str, Tensor], told: Mapping[str, Shape], schemes: list[_Scheme]
) -> list[str]:
    """Wrong shapes of a quantized layer; by the scheme that fits best where several may be the layer's."""
    name, shape = f"{layer.stored}.weight_shape", (layer.rows, layer.columns)
    found = [_line(name, told[name], shape)] if told.get(name, shape) != shape else []
    own = [scheme for scheme in schemes if scheme.is_for(layer.module) or scheme.is_for(layer.stored)]
    by_scheme = [
        [
            _line(name, tensors[name].shape, expected)
            for name, expected in _expected(layer, scheme.weights, tensors)
            if name in tensors and tensors[name].shape != expected
        ]
        for scheme in own or [scheme for scheme in schemes if OTHERS in scheme.names] or schemes
    ]
    return found + min(by_scheme, key=len, default=[])


def _expected(
    layer: LinearLayer, weights: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> Iterator[tuple[str, Shape]]:
    """Tensors beside a layer's dense weight with their shapes, as compressed-tensors stores them.

    Args:
        weights: how the layer's scheme rounds weights.
    """
    prefix, bits = f"{layer.stored}.weight", weights["num_bits"]
    packed, integers = f"{prefix}_packed" in tensors, weights["type"] == "int"
    if packed and integers:
        yield f"{prefix}_packed", (layer.rows, math.ceil(layer.columns * bits / WORD))
    elif packed and bits == 4:  # two floats in a byte
        yield f"{prefix}_packed", (layer.rows, math.ceil(layer.columns / 2))
    scales = _scales(layer, weights)
    if scales is None:
        return
    yield f"{prefix}_scale", scales
    if packed and integers and weights["strategy"] in ("channel", "group"):
        yield f"{prefix}_zero_point", (math.ceil(layer.rows * bits / WORD), scales[1])
    else:
        yield f"{prefix}_zero_point", scales


def _scales(layer: LinearLayer, weights: Mapping[str, Any]) -> Shape | None:
    """The shape of a layer's scales; None where it is not known."""
    match weights:
        case {"strategy": "tensor"}:
            return (1,)
        case {"strategy": "channel"}:
            return (layer.rows, 1)
        case {"strategy": "group" | "tensor_group", "group_size": int(size)}:
            return (layer.rows, math.ceil(layer.columns / size))
        case {"strategy": "block", "block_structure": [int(rows), int(columns)]}:
            return (math.ceil(layer.rows / rows), math.ceil(layer.columns / columns))
    return None


def _schemes(folder: Path) -> list[_Scheme]:
    """The schemes of a checkpoint's configuration; none where it cannot be read, which loading tells."""
    groups: list[Any] = []
    with suppress(FaqError, LookupError, TypeError, AttributeError):
        groups += read_object(folder / "config.json")["quantization_config"]["config_groups"].values()
    found = []
    for group in groups:
        match group:
            case {
                "targets": [*targets],
                "weights": {"num_bits": int(), "type": str(), "strategy": str()} as weights,
            }:
                names = frozenset(map(str, targets))
                patterns = tuple(name for name in names if name.startswith("re:"))
                found.append(_Scheme(names.difference(patterns), patterns, weights))
    return found


def _told_shapes(folder: Path) -> dict[str, Shape]:
    """The shapes of weights that are stored beside packed integers, by the tensors that tell them."""
    return {
        name: tuple(file.get_tensor(name).flatten().tolist())
        for file, name in stored_names(folder)
        if name.endswith(".weight_shape")
    }


def _line(name: str, found: Shape, expected: Shape) -> str:
    return f"{name}: {_written(found)}, expected {_written(expected)}"


def _written(shape: Shape) -> str:
    return " x ".join(map(str, shape)) or "a single number"
