"""Refuses what a method that learns its roundings cannot do, before any work."""

from __future__ import annotations

from collections.abc import Sequence

from faq_pipeline.config.family import Member
from faq_pipeline.config.quantization import Quantization
from faq_pipeline.errors import FaqError
from faq_pipeline.models.architecture import Architecture, LinearLayer
from faq_pipeline.models.device_memory import runs_on_cpu
from faq_pipeline.quantization.layer_check import line_to_add
from faq_pipeline.quantization.methods import learns_rounding
from faq_pipeline.quantization.methods.autoround import FLOATS
from faq_pipeline.quantization.schemes import SCHEMES

NOT_LEARNED = ("Bloom", "Mamba")
"""Beginnings of names of architectures whose decoder layers auto-round or llmcompressor cannot run apart."""
MOST_ON_CPU = 1_000_000_000
"""Parameters of a member above which it is not learned on a CPU."""


def check_learned_settings(spec: Quantization) -> None:
    """Check the scheme and the observer of a method that learns roundings and scales.

    Raises:
        FaqError: auto-round does not know the scheme's format, or the recipe has scales searched.
    """
    if not learns_rounding(spec):
        return
    if SCHEMES.find(spec.scheme).float_weights and spec.scheme not in FLOATS:
        raise FaqError(
            f"method {spec.method!r} cannot learn {spec.scheme!r}",
            hint=f"use a scheme with integer weights, or {', '.join(FLOATS)}; or another method",
            key="quantization.scheme",
        )
    if spec.observer != "minmax":
        raise FaqError(
            f"method {spec.method!r} learns its scales, and observer {spec.observer!r} has no effect on them",
            hint="observer: minmax",
            key="quantization.observer",
        )


def check_learned_layers(
    spec: Quantization, architecture: Architecture, layers: Sequence[LinearLayer]
) -> None:
    """Check that all layers are in decoder layers, which are learned one by one.

    Args:
        layers: those that the recipe quantizes.

    Raises:
        FaqError: the head is among them, or the decoder layers cannot be run one by one.
    """
    if not learns_rounding(spec):
        return
    if architecture.name.startswith(NOT_LEARNED):
        raise FaqError(
            f"method {spec.method!r} cannot learn the decoder layers of {architecture.name}",
            hint="use method gptq",
            key="quantization.method",
        )
    heads = [layer.module for layer in layers if layer.part == "head"]
    if heads:
        raise FaqError(
            f"method {spec.method!r} learns decoder layers, and {heads[0]} is in none",
            hint=f"say {line_to_add(spec, heads)}",
            key="quantization.ignore",
        )


def check_learning_device(spec: Quantization, member: Member, device: str) -> None:
    """Refuse to learn a large member on a CPU.

    Raises:
        FaqError: see above.
    """
    if learns_rounding(spec) and runs_on_cpu(device) and member.parameters > MOST_ON_CPU:
        raise FaqError(
            f"method {spec.method!r} would take hours to days on a CPU: {member.name!r} has"
            f" {member.parameters / 1e9:.1f} billion parameters, and the limit is 1 billion",
            hint="use a GPU, or method gptq",
            key="quantization.method",
        )
