"""What a saved checkpoint's `config.json` says of its quantization."""

from __future__ import annotations

import json
from pathlib import Path

from faq_pipeline.models.architecture import architecture_of
from faq_pipeline.models.weights import Weights
from faq_pipeline.quantization.layers import is_quantized, read_tensors

EXPERTS = r"re:.*\.experts\..*"
"""All routed experts: they are quantized together or not at all, and may be thousands of layers."""


def complete_ignored(weights: Weights, folder: Path) -> None:
    """Name every layer that was left as it was, as it is called in memory and in files.

    compressed-tensors names layers of its own class alone, and as files call them, which is how vLLM
    looks them up. transformers looks for their names in memory.
    """
    path, tensors = folder / "config.json", read_tensors(folder)
    config = json.loads(path.read_text(encoding="utf-8"))
    ignored = config["quantization_config"]["ignore"]
    wanted = [
        name
        for layer in architecture_of(weights).layers
        if not is_quantized(layer, tensors)
        for name in ([EXPERTS] if layer.part == "expert" else [layer.stored, layer.module])
    ]
    if names := [name for name in dict.fromkeys(wanted) if name and name not in ignored]:
        ignored += names
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
