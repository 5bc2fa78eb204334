"""Names of models and tensors in GGUF files, as llama.cpp has them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from faq_pipeline.errors import FaqError

ALIASES = {"mistral": "llama", "qwen3moe": "qwen3moe", "gemma3text": "gemma3"}
"""Model types of transformers that llama.cpp calls otherwise; underscores left out."""

_EXPERT = re.compile(r"(.*\.experts)\.(\d+)\.(.*)")


def gguf_package() -> Any:
    """The package `gguf`.

    Raises:
        FaqError: it is not installed.
    """
    try:
        import gguf
    except ImportError:
        raise FaqError("GGUF files need the package gguf", hint="pip install 'faq-pipeline[gguf]'") from None
    return gguf


class TensorNames:
    """llama.cpp's names of a model's tensors.

    Raises:
        FaqError: llama.cpp knows no such model.
    """

    def __init__(self, model_type: str, layers: int) -> None:
        gguf = gguf_package()
        plain = model_type.replace("_", "")
        self.architecture = ALIASES.get(plain, plain)
        known = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}
        if self.architecture not in known:
            raise FaqError(f"llama.cpp has no model type {model_type!r}", hint="use --to text or messages")
        self._map = gguf.get_tensor_name_map(known[self.architecture], layers)

    def of(self, tensor: str) -> str:
        """The name of a tensor, as `model.layers.0.self_attn.q_proj.weight`.

        Raises:
            FaqError: llama.cpp has none for it.
        """
        name: str | None = self._map.get_name(tensor, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise FaqError(f"llama.cpp has no name for {tensor} of a {self.architecture} model")
        return name

    def of_inputs(self, modules: Iterable[str]) -> dict[str, list[str]]:
        """Modules whose weights are one tensor there, by its name: one, or all experts in order."""
        found: dict[str, dict[int, str]] = {}
        for module in modules:
            expert = _EXPERT.fullmatch(module)
            plain = f"{expert[1]}.{expert[3]}" if expert else module
            found.setdefault(self.of(f"{plain}.weight"), {})[int(expert[2]) if expert else 0] = module
        return {name: [parts[i] for i in sorted(parts)] for name, parts in found.items()}
