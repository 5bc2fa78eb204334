"""The layers of a member: told by the modules that it is built of, without its weights.

The model is built from its configuration on torch's meta device, where tensors have shapes and no
memory. What was found is remembered beside the digests of weights, so that a later check loads no
torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

from faq_pipeline.models.weights import Weights
from faq_pipeline.store.fingerprint import short_hash, tool_version
from faq_pipeline.util.atomic_files import write_atomic

Part = Literal["decoder", "expert", "head", "router", "tower"]
"""What a linear layer belongs to: `expert` to a routed expert, `head` to the output, `router` to what
chooses or weighs experts, `tower` to what is beside the language model (images, audio)."""

QUANTIZABLE: tuple[Part, ...] = ("decoder", "expert", "head")
"""Parts that a recipe may quantize. The others are few weights or never see a calibration set."""

Shape = tuple[int, ...]

FORMAT = 2
"""Raise it when what is remembered changes."""


class LinearLayer(NamedTuple):
    """A linear layer: `rows` outputs, `columns` inputs.

    Attributes:
        module: its name in memory, which a recipe's `ignore` and the quantizer mean.
        stored: the module's name in a checkpoint's files; "" where files hold its weight in another
            shape.
        obstacle: why it cannot be quantized, and "" where it can.
    """

    module: str
    stored: str
    part: Part
    rows: int
    columns: int
    obstacle: str


@dataclass(frozen=True)
class Architecture:
    """What a member is built of.

    Attributes:
        name: the model's class in transformers.
        layers: linear layers in the model's order, but for a head that is tied to the embedding.
        transposed: modules of transformers' `Conv1D`, linear layers that no quantizer knows.
        tensors: shapes of all tensors of a checkpoint that is not quantized, by name.
        tied: shapes of tensors that are others' under another name, as a head's; a checkpoint has them
            only where it ties them no longer, as once it is rotated.
    """

    name: str
    layers: tuple[LinearLayer, ...]
    transposed: tuple[str, ...]
    tensors: Mapping[str, Shape]
    tied: Mapping[str, Shape]

    @cached_property
    def quantizable(self) -> tuple[LinearLayer, ...]:
        """The layers of `QUANTIZABLE` parts."""
        return tuple(layer for layer in self.layers if layer.part in QUANTIZABLE)


def architecture_of(weights: Weights) -> Architecture:
    """The architecture of a member whose files are here.

    Raises:
        FaqError: transformers knows no causal language model of this configuration.
    """
    config = json.dumps(weights.config, sort_keys=True)
    key = short_hash(f"{config}{FORMAT} {tool_version('transformers')}".encode())
    if key not in _known:
        _known[key] = _remembered(weights, key)
    return _known[key]


_known: dict[str, Architecture] = {}


def _remembered(weights: Weights, key: str) -> Architecture:
    file = None if weights.cache is None else weights.cache / f"{key}.architecture.json"
    if file is not None:
        with suppress(OSError, ValueError, TypeError, LookupError):  # a damaged entry only costs time
            return _from_json(json.loads(file.read_text(encoding="utf-8")))
    from faq_pipeline.models.architecture_probe import describe, on_meta

    found = describe(on_meta(weights))
    if file is not None:
        with suppress(OSError):  # a full or read-only disk too
            write_atomic(file, json.dumps(asdict(found)))
    return found


def _from_json(content: dict[str, Any]) -> Architecture:
    return Architecture(
        name=content["name"],
        layers=tuple(LinearLayer(*row) for row in content["layers"]),
        transposed=tuple(content["transposed"]),
        tensors={name: tuple(shape) for name, shape in content["tensors"].items()},
        tied={name: tuple(shape) for name, shape in content["tied"].items()},
    )
