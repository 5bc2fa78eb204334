"""Refuses layers that could be quantized, but not loaded again, and says what to add to the recipe."""

from __future__ import annotations

import re
from collections.abc import Sequence

from faq_pipeline.config.quantization import Quantization
from faq_pipeline.errors import FaqError
from faq_pipeline.models.architecture import Architecture, LinearLayer
from faq_pipeline.quantization.layers import is_ignored
from faq_pipeline.quantization.schemes import SCHEMES

FP8 = "FP8"
"""Beginning of the names of schemes whose weights are floats of 8 bits."""


def check_layers(spec: Quantization, architecture: Architecture, layers: Sequence[LinearLayer]) -> None:
    """Check the layers that a recipe quantizes.

    Args:
        layers: those of the architecture that `ignore` does not name.

    Raises:
        FaqError: there are none, some cannot be loaded again, or experts are left out, in part or where the
            others' scheme needs them quantized, or have a scheme that transformers does not load.
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
    if experts := [
        layer for layer in architecture.quantizable if layer.part == "expert" and not layer.obstacle
    ]:
        _check_experts(spec, architecture, experts)
    if stuck := [layer for layer in layers if layer.obstacle]:
        raise _refusal(spec, architecture, [layer.module for layer in stuck], stuck[0].obstacle)


def line_to_add(spec: Quantization, modules: Sequence[str]) -> str:
    """What a recipe must say so that these modules stay as they are, and those of like names."""
    patterns = dict.fromkeys(_pattern(module) for module in modules)
    entries = [*spec.ignore, *(pattern for pattern in patterns if pattern not in spec.ignore)]
    return f"ignore: [{', '.join(_quoted(entry) for entry in entries)}]"


def _check_experts(spec: Quantization, architecture: Architecture, experts: Sequence[LinearLayer]) -> None:
    """Check experts that transformers fuses as it loads them.

    It takes all of them for quantized by the scheme of the other layers. Only beside layers in FP8 does it
    load dense ones.
    """
    scheme = SCHEMES.find(spec.scheme)
    dense_load = scheme.name.startswith(FP8)
    left_out = [layer.module for layer in experts if is_ignored(layer.module, spec.ignore)]
    if left_out:
        if len(left_out) == len(experts) and dense_load:
            return
        others = "other experts" if len(left_out) < len(experts) else f"layers in {spec.scheme}"
        raise FaqError(
            f"{architecture.name}: {left_out[0]} is left out, and transformers does not load it dense beside"
            f" {others}",
            hint="quantize all experts (W4A16, for example), or none with a scheme such as FP8_DYNAMIC",
            key="quantization.ignore",
        )
    why = "transformers loads experts of one width alone"
    if spec.plan is not None:
        raise FaqError(f"{architecture.name}: {why}", hint="remove it", key="quantization.plan")
    if any(is_ignored(layer.module, [target]) for target in spec.layer_bits or () for layer in experts):
        raise FaqError(
            f"{architecture.name}: {why}", hint="let it name no experts", key="quantization.layer_bits"
        )
    arguments = scheme.build().weights if scheme.activation_bits == 16 else None
    if arguments is None or arguments.type != "int" or not arguments.symmetric:
        why = f"transformers loads experts with symmetric integer weights alone, and not {spec.scheme}"
        if dense_load:
            raise _refusal(spec, architecture, [experts[0].module], why)
        hint = "use a scheme such as W4A16, or leave the experts out of one such as FP8_DYNAMIC"
        raise FaqError(f"{architecture.name}: {why}", hint=hint, key="quantization.scheme")


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
