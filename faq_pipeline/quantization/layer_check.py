"""Refuses layers that could be quantized, but not loaded again, and says what to add to the recipe."""

from __future__ import annotations

import re
from collections.abc import Sequence

from faq_pipeline.config.quantization import Quantization
from faq_pipeline.errors import FaqError
from faq_pipeline.models.architecture import Architecture, LinearLayer
from faq_pipeline.quantization.layers import is_ignored
from faq_pipeline.quantization.schemes import SCHEMES


def check_layers(spec: Quantization, architecture: Architecture, layers: Sequence[LinearLayer]) -> None:
    """Check the layers that a recipe quantizes.

    Args:
        layers: those of the architecture that `ignore` does not name.

    Raises:
        FaqError: there are none, some cannot be loaded again, or experts of which some are left out or
            whose scheme transformers does not load.
    """
    if architecture.transposed and all(layer.part == "head" for layer in architecture.quantizable):
        raise FaqError(
            f"{architecture.name} cannot be quantized: its layers are of the kind Conv1D, as"
            f" {architecture.transposed[0]}, and no linear layers",
            hint="take a member of another architecture",
        )
    if not layers:
        raise FaqError(
            "quantization.ignore leaves no layer to quantize",
            hint="shorten the list",
            key="quantization.ignore",
        )
    if experts := [layer for layer in layers if layer.part == "expert" and not layer.obstacle]:
        _check_experts(spec, architecture, experts)
    if stuck := [layer for layer in layers if layer.obstacle]:
        raise _refusal(spec, architecture, [layer.module for layer in stuck], stuck[0].obstacle)


def line_to_add(spec: Quantization, modules: Sequence[str]) -> str:
    """What a recipe must say so that these modules stay as they are, and those of like names."""
    patterns = dict.fromkeys(_pattern(module) for module in modules)
    entries = [*spec.ignore, *(pattern for pattern in patterns if pattern not in spec.ignore)]
    return f"ignore: [{', '.join(_quoted(entry) for entry in entries)}]"


def _check_experts(spec: Quantization, architecture: Architecture, experts: Sequence[LinearLayer]) -> None:
    """Experts are fused as they are loaded, all in one way."""
    left_out = [layer.module for layer in architecture.quantizable if layer.part == "expert"]
    left_out = [name for name in left_out if is_ignored(name, spec.ignore)]
    if left_out:
        raise _refusal(
            spec, architecture, [experts[0].module], f"{left_out[0]} is left out, and experts go together"
        )
    if spec.plan is not None or any(
        is_ignored(layer.module, [target]) for target in spec.layer_bits or () for layer in experts
    ):
        raise _refusal(
            spec, architecture, [experts[0].module], "transformers loads experts of one width alone"
        )
    scheme = SCHEMES.find(spec.scheme)
    arguments = scheme.build().weights if scheme.activation_bits == 16 else None
    if arguments is None or arguments.type != "int" or not arguments.symmetric:
        raise _refusal(
            spec,
            architecture,
            [experts[0].module],
            f"transformers loads experts with symmetric integer weights alone, and not {spec.scheme}",
        )


def _refusal(spec: Quantization, architecture: Architecture, modules: Sequence[str], why: str) -> FaqError:
    others = f" (and {len(modules) - 1} more)" if len(modules) > 1 else ""
    return FaqError(
        f"{architecture.name}: {modules[0]}{others} cannot be quantized: {why}",
        hint=f"say {line_to_add(spec, modules)}",
        key="quantization.ignore",
    )


def _pattern(module: str) -> str:
    """A pattern for layers of this kind in every block: all experts, or the last two parts of the name."""
    if ".experts." in module:
        return r"re:.*\.experts\..*"
    *_, block, own = module.split(".") if "." in module else ("", module)
    return module if not block or block.isdigit() else rf"re:.*\.{re.escape(block)}\.{re.escape(own)}$"


def _quoted(entry: str) -> str:
    """As YAML has it."""
    return f"'{entry}'" if entry.startswith("re:") else entry
