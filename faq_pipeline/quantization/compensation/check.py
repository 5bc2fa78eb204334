"""Refuses a compensation that cannot be stored or loaded, before any work."""

from __future__ import annotations

from collections.abc import Sequence

from faq_pipeline.config.quantization import Quantization
from faq_pipeline.errors import FaqError
from faq_pipeline.models.architecture import LinearLayer
from faq_pipeline.quantization.schemes import SCHEMES


def check_compensation(spec: Quantization, layers: Sequence[LinearLayer]) -> None:
    """Check a recipe's compensation, where it has one.

    Args:
        layers: those that the recipe quantizes.

    Raises:
        FaqError: activations are rounded, a layer is a routed expert, the rank exceeds the rows or columns
            of a layer, or no layer gets an adapter.
    """
    if spec.compensation is None:
        return
    if SCHEMES.find(spec.scheme).activation_bits < 16:
        raise FaqError(
            f"{spec.scheme} rounds activations, and an adapter would be given others than the layer",
            hint="remove it, or use a scheme such as W4A16",
            key="quantization.compensation",
        )
    if experts := [layer.module for layer in layers if layer.part == "expert"]:
        raise FaqError(
            f"PEFT has no adapter of this kind for routed experts such as {experts[0]}",
            hint="remove it",
            key="quantization.compensation",
        )
    if all(layer.part == "head" for layer in layers):
        raise FaqError(
            "only the head is quantized, and it gets no adapter",
            hint="remove it, or leave fewer modules out by quantization.ignore",
            key="quantization.compensation",
        )
    rank = spec.compensation.rank
    for layer in layers:
        if layer.part != "head" and rank > min(layer.rows, layer.columns):
            raise FaqError(
                f"rank {rank} exceeds the {min(layer.rows, layer.columns)} rows or columns of {layer.module}",
                hint="lower it; an adapter is small beside its layer",
                key="quantization.compensation.rank",
            )
