"""How fields of an identity are called where a change of them is told, by dotted name.

A label covers the field and all below it; an empty one leaves the rest of the name. A field without
a label is called by its dotted name. A label may quote another field: `seed file {seeds.file}`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

Labels = Mapping[str, str]

TARGET: Labels = {
    "target": "weights of the target",
    "tokenizer": "tokenizer of the target",
    "prompts": "family prompts",
    "thinking": "family thinking",
    "template_kwargs": "family thinking.template_kwargs",
    "tools": "",
}
"""Of what stages declare of the target, its family, and the tools."""


_QUOTED = re.compile(r"\{([\w.]+)\}")


def engine_labels(section: str, under: str) -> dict[str, str]:
    """Labels of an engine's identity that lies in the field `under`.

    Args:
        section: of the recipe, which names the engine.
    """
    fields = {
        "engine": f"{section}.engine",
        "batch_size": f"{section}.batch_size",
        "model": f"{section}.endpoint.model",
        "version": f"{{{under}.engine}}",
        "tensor_parallel": "family serving.tensor_parallel",
        "pipeline_parallel": "family serving.pipeline_parallel",
        "arguments": "family serving.arguments",
    }
    return {under: "", **nested(fields, under)}


def nested(labels: Labels, under: str) -> dict[str, str]:
    """The same labels for a mapping that lies in the field `under`."""
    return {f"{under}.{name}": label for name, label in labels.items()}


def label_of(path: str, labels: Labels, identity: Mapping[str, Any]) -> str:
    """What a field of the identity is called; its dotted name where no label covers it."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        label = labels.get(".".join(parts[:length]))
        if label is not None:
            rest = ".".join(parts[length:])
            text = _QUOTED.sub(lambda found: _value(identity, found[1]), label).strip()
            return text + ("." if text and rest else "") + rest
    return path


def _value(identity: Mapping[str, Any], path: str) -> str:
    found: Any = identity
    for name in path.split("."):
        found = found.get(name, "") if isinstance(found, Mapping) else ""
    return str(found)
